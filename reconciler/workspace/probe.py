"""The `probe` key of a host: which way its cards are asked for."""

from __future__ import annotations

import re
from enum import StrEnum

from reconciler.fleet import ProbeSpec, Tls
from reconciler.workspace.engines import AUTH_FIELD, TLS_FIELD
from reconciler.workspace.forms import Form, choice, duration, integer, label, map_of, url
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node


class ProbeVia(StrEnum):
    """Where facts about cards come from."""

    AUTO = "auto"
    NVML = "nvml"
    SSH = "ssh"
    DCGM = "dcgm"
    EXPORTER = "exporter"
    PROMETHEUS = "prometheus"
    DECLARED = "declared"
    NONE = "none"


VIA = Field(
    "via",
    choice(ProbeVia),
    says="Where facts about the cards come from; `auto` (default): NVML here, ssh where a user is given, else as declared.",
    meant="type method mode source kind",
)
USER = Field(
    "user",
    label,
    says="Whom ssh asks for; the default is `ansible_user`.",
    meant="username login ssh_user",
)
PORT = Field("port", integer(1, 65535), says="Port of ssh; the default is `ansible_port`.", meant="ssh_port")
TIMEOUT = Field("timeout", duration, says="How long one look at the cards may take; the default is 10s.")
URL = Field(
    "url",
    url,
    says="Where an exporter or a Prometheus answers.",
    meant="address endpoint exporter",
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")


def _labels(node: Node, problems: Problems, name: str) -> tuple[tuple[str, str], ...]:
    found = _pairs.read(node, problems, name)
    for label_name in found:
        if not _LABEL.fullmatch(label_name):
            raise problems.refuse(
                f"{name}: {label_name!r} is no label of Prometheus", node, "write it as Prometheus shows it, such as instance"
            )
    if not found:
        raise problems.refuse(f"{name} is empty", node, _MATCH_HINT)
    return tuple(sorted(found.items()))


_pairs = map_of(label)
_MATCH_HINT = 'write the labels that tell a host, such as `match: {instance: "{{ inventory_hostname }}:9400"}`'
MATCH = Field(
    "match",
    Form(_labels, _pairs.schema),
    says="For `via: prometheus`: the labels that tell which series are this host's.",
    meant="labels selector matchers",
)
MAX_AGE = Field(
    "max_age", duration, says="For `via: prometheus`: how old a sample may be; the default is 3m.", meant="stale_after staleness"
)
PROBE = Table("probe", (VIA, USER, PORT, TIMEOUT, URL, MATCH, MAX_AGE, AUTH_FIELD, TLS_FIELD))


def _probe(node: Node, problems: Problems, name: str) -> ProbeSpec:
    values = PROBE.read(node, problems, name)
    user = values.get(USER)
    if user is not None and user.startswith("-"):
        problems.error(f"{name}: a user cannot begin with '-'", node, "write the name of the account")
    via = values.get(VIA) or ProbeVia.AUTO
    if via is ProbeVia.PROMETHEUS:
        if values.lacks(URL):
            problems.error(f"{name} asks Prometheus and has no url", node, "write `url: http://HOST:9090`")
        if values.lacks(MATCH):
            problems.error(f"{name} asks Prometheus and does not say which series are this host's", node, _MATCH_HINT)
    else:
        for field in (MATCH, MAX_AGE):
            if field.key in values.nodes:
                problems.error(f"{name}: {field.key} is for `via: prometheus`, this is {via}", values.nodes[field.key], "remove it")
    unset = ProbeSpec()
    return ProbeSpec(
        via=str(via),
        user=user,
        port=values.get(PORT),
        timeout=values.get(TIMEOUT) or unset.timeout,
        url=values.get(URL),
        bearer=values.get(AUTH_FIELD),
        tls=values.get(TLS_FIELD) or Tls(),
        match=values.get(MATCH) or (),
        max_age=values.get(MAX_AGE) or unset.max_age,
    )


probe = Form(_probe, PROBE.schema())
