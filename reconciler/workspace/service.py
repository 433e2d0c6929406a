"""`policy.service`: tokens of the HTTP API with their roles, and the names under which it may be asked."""

from __future__ import annotations

import re

from reconciler.fleet import Role, ServicePolicy, Token
from reconciler.workspace.forms import Form, choice, label, list_of, secret, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

NAME = Field("name", label, required=True, meant="user")
SECRET = Field("secret", secret, required=True, meant="token password key")
ROLE = Field("role", choice(Role), meant="rights scope")
TOKEN = Table("token", (NAME, SECRET, ROLE))
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")


def _token(node: Node, problems: Problems, name: str) -> Token:
    values = TOKEN.read(node, problems, name)
    who, key = values.get(NAME), values.get(SECRET)
    if who is None or key is None:
        raise Refused
    return Token(who, key, values.get(ROLE) or Role.READ)


def _host(node: Node, problems: Problems, name: str) -> str:
    found = text.read(node, problems, name)
    if _HOST.fullmatch(found) is None:
        raise problems.refuse(f"{name} is {found!r}, which is no host name", node, "write a name or an address, without port and scheme")
    return found.lower()


TOKENS = Field("tokens", list_of(Form(_token, TOKEN.schema())))
HOSTS = Field("hosts", list_of(Form(_host, {"type": "string", "minLength": 1})))
SERVICE = Table("service", (TOKENS, HOSTS))


def _service(node: Node, problems: Problems, name: str) -> ServicePolicy:
    values = SERVICE.read(node, problems, name)
    tokens = values.get(TOKENS) or ()
    names = [one.name for one in tokens]
    if (twice := next((one for one in names if names.count(one) > 1), None)) is not None:
        raise problems.refuse(f"two tokens of {name} are named {twice!r}", node, "give each its own name: history tells them by it")
    return ServicePolicy(tokens, values.get(HOSTS) or ())


service = Form(_service, SERVICE.schema())
