"""The `probe` key of a host: which way its cards are asked for."""

from __future__ import annotations

from enum import StrEnum

from reconciler.fleet import ProbeSpec, Tls
from reconciler.workspace.engines import AUTH_FIELD, TLS_FIELD
from reconciler.workspace.forms import Form, choice, duration, integer, label, url
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
    DECLARED = "declared"
    NONE = "none"


VIA = Field(
    "via",
    choice(ProbeVia),
    meant="type method mode source kind",
)
USER = Field(
    "user",
    label,
    meant="username login ssh_user",
)
PORT = Field("port", integer(1, 65535), meant="ssh_port")
TIMEOUT = Field("timeout", duration)
URL = Field(
    "url",
    url,
    meant="address endpoint exporter",
)
PROBE = Table("probe", (VIA, USER, PORT, TIMEOUT, URL, AUTH_FIELD, TLS_FIELD))


def _probe(node: Node, problems: Problems, name: str) -> ProbeSpec:
    values = PROBE.read(node, problems, name)
    user = values.get(USER)
    if user is not None and user.startswith("-"):
        problems.error(f"{name}: a user cannot begin with '-'", node, "write the name of the account")
    unset = ProbeSpec()
    return ProbeSpec(
        via=str(values.get(VIA) or ProbeVia.AUTO),
        user=user,
        port=values.get(PORT),
        timeout=values.get(TIMEOUT) or unset.timeout,
        url=values.get(URL),
        bearer=values.get(AUTH_FIELD),
        tls=values.get(TLS_FIELD) or Tls(),
    )


probe = Form(_probe, PROBE.schema())
