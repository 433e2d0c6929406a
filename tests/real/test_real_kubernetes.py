"""A kubeconfig with certificates of a real authority, asked of a simulated API server over TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from api_server import TOKEN, ApiServer, serving
from certificates import Authority, Pair
from processes import LOOPBACK

from reconciler.kubernetes import KubernetesError, access_of, list_nodes

NODE: dict[str, Any] = {"metadata": {"name": "n"}}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def requiring(authority: Authority) -> ssl.SSLContext:
    """TLS of a server that wants a certificate of its clients."""
    pair = authority.issue("server", f"IP:{LOOPBACK}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def nodes(folder: Path, server: ApiServer, cluster: dict[str, Any], user: dict[str, Any]) -> list[str]:
    document: dict[str, Any] = {
        "current-context": "lab",
        "clusters": [{"name": "c", "cluster": {"server": server.url, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "config").write_text(json.dumps(document))

    async def ask() -> list[str]:
        found = await list_nodes(await access_of("", {"KUBECONFIG": str(folder / "config")}))
        return [str(one["metadata"]["name"]) for one in found]

    return asyncio.run(ask())


def inline(pair: Pair) -> dict[str, str]:
    both = {"client-certificate-data": pair.certificate, "client-key-data": pair.key}
    return {key: base64.b64encode(path.read_bytes()).decode() for key, path in both.items()}


def test_a_client_certificate_in_the_kubeconfig_or_beside_it_says_who_it_is(tmp_path: Path, authority: Authority) -> None:
    client = authority.issue("ann")
    with serving([NODE], requiring(authority)) as server:
        trusted = {"certificate-authority-data": base64.b64encode(authority.ca.read_bytes()).decode()}
        assert nodes(tmp_path, server, trusted, inline(client)) == ["n"]
        beside = {"client-certificate": client.certificate.name, "client-key": client.key.name}
        assert nodes(tmp_path, server, {"certificate-authority": authority.ca.name}, beside) == ["n"]


def test_without_a_certificate_or_with_another_authority_nothing_is_asked(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    with serving([NODE], requiring(authority)) as server:
        for trusted, user in ((authority, {"token": TOKEN}), (authority, inline(stranger.issue("eve"))), (stranger, {"token": TOKEN})):
            with pytest.raises(KubernetesError, match="cannot be asked"):
                nodes(tmp_path, server, {"certificate-authority": str(trusted.ca)}, user)
        assert server.asked == []
