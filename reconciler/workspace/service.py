"""`policy.service`: tokens of the HTTP API with their roles, the names under which it may be asked, and how much history is kept."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from reconciler.fleet import HistoryBounds, Payments, Role, ServicePolicy, Token
from reconciler.workspace.forms import Form, choice, duration, integer, label, list_of, secret, size, text
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

NAME = Field("name", label, says="By what name `gpurec history` tells who asked.", required=True, meant="user")
SECRET = Field("secret", secret, says="Where the secret itself is: env:NAME or file:PATH.", required=True, meant="token password key")
ROLE = Field("role", choice(Role), says="`read` (default) looks, `plan` plans too, `apply` also writes.", meant="rights scope")
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


def _network(node: Node, problems: Problems, name: str) -> IPv4Network | IPv6Network:
    found = text.read(node, problems, name)
    try:
        return ip_network(found)
    except ValueError:
        raise problems.refuse(
            f"{name} is {found!r}, which is no network", node, "write an address or a network, such as 10.0.0.0/8"
        ) from None


TOKENS = Field("tokens", list_of(Form(_token, TOKEN.schema())), says="Bearer tokens by which the service may be asked.")
HOSTS = Field(
    "hosts",
    list_of(Form(_host, {"type": "string", "minLength": 1})),
    says="Further names under which the service may be asked, beside the one that it listens on.",
)
PROXIES = Field(
    "trusted_proxies",
    list_of(Form(_network, {"type": "string", "minLength": 1})),
    says="Addresses or networks of reverse proxies whose `X-Forwarded-For` is believed.",
    meant="proxies proxy forwarded_allow_ips",
)
KEEP = Field("keep", duration, says="How long samples are kept; the default is 30 days.", meant="age days retention")
SIZE = Field(
    "size",
    size,
    says="How large it may become before the oldest goes; the default is 256 MiB, and 0 keeps none.",
    meant="max_size bytes limit",
)
HISTORY = Table("history", (KEEP, SIZE))


def _history(node: Node, problems: Problems, name: str) -> HistoryBounds:
    values, usual = HISTORY.read(node, problems, name), HistoryBounds()
    keep, most = values.get(KEEP), values.get(SIZE)
    return HistoryBounds(usual.seconds if keep is None else keep, usual.size_bytes if most is None else most)


MOST_WEI = 2**256 - 1
"""What a ticket can be worth at most: its amounts are uint256."""
GATEWAYS_TAKE = 3_000_000_000_000
"""Wei of expected value above which gateways refuse a ticket unless their -maxTicketEV says more (go-livepeer cmd/livepeer/starter)."""
MOST_PRICE = 2**63 - 1
"""Wei of a unit of work that go-livepeer can tell: its PriceInfo has 64 bits."""
PRICE = Field("price_per_unit", integer(0, MOST_PRICE), says="Price of one unit of work, in wei.")
EXPECTED = Field("ticket_ev", integer(0, MOST_WEI), says="Expected value of one ticket, in wei.")
FACE = Field("max_face_value", integer(0, MOST_WEI), says="The most that one ticket may be worth, in wei; 0: no cap.")
REDEEMED_AT = 1_200_000 * 10_000_000
"""Wei that the redemption of a ticket costs at least: its gas on Arbitrum at the least price that gas has there, 0.01 gwei."""
MANY_TICKETS = 1000
SIGNED_WITH = Field(
    "secret",
    secret,
    says="Where the secret is by which its webhook is signed: env:NAME or file:PATH; unset: there is no webhook.",
    meant="token password key",
)
LIVEPEER = Table("livepeer", (SIGNED_WITH, PRICE, EXPECTED, FACE))


def _livepeer(node: Node, problems: Problems, name: str) -> Payments:
    values = LIVEPEER.read(node, problems, name)
    price, expected, face = values.get(PRICE), values.get(EXPECTED), values.get(FACE)
    if expected is not None and (expected == 0 or (face is not None and 0 < face <= expected)):
        what = f"{name}: a ticket is worth {expected} wei on an average, which is {'nothing' if not expected else 'no less than it can be'}"
        raise problems.refuse(what, values.nodes[EXPECTED.key], "write 0 < ticket_ev < max_face_value, or max_face_value 0 for no cap")
    if expected is not None and expected > GATEWAYS_TAKE:
        what = f"{name}: gateways refuse tickets worth more than {GATEWAYS_TAKE} wei on an average, unless their -maxTicketEV says more"
        problems.warn(what, values.nodes[EXPECTED.key], "write a smaller ticket_ev, or mind which gateways may send work")
    if face is not None and 0 < face < REDEEMED_AT:
        what = f"{name}: a ticket that wins brings at most {face} wei, and to redeem it costs about {REDEEMED_AT} wei or more"
        problems.warn(what, values.nodes[FACE.key], "write a larger max_face_value, or 0 for no cap")
    if price == 0:
        problems.warn(f"{name}: work is free", values.nodes[PRICE.key], "write a price_per_unit, or take it out")
    if price is not None and expected and price > MANY_TICKETS * expected:
        what = f"{name}: one unit of work is paid with {price // expected} tickets"
        problems.warn(what, values.nodes[EXPECTED.key], "write a larger ticket_ev")
    return Payments(values.get(SIGNED_WITH), price, expected, face)


LIVEPEER_FIELD = Field(
    "livepeer",
    Form(_livepeer, LIVEPEER.schema()),
    says="What work for a Livepeer gateway is paid with, and the webhook that tells of its tickets.",
    meant="payments tickets",
)
HISTORY_FIELD = Field("history", Form(_history, HISTORY.schema()), says="How much history of cards and models is kept.")
SERVICE = Table("service", (TOKENS, HOSTS, HISTORY_FIELD, LIVEPEER_FIELD, PROXIES))


def _service(node: Node, problems: Problems, name: str) -> ServicePolicy:
    values = SERVICE.read(node, problems, name)
    tokens = values.get(TOKENS) or ()
    names = [one.name for one in tokens]
    if (twice := next((one for one in names if names.count(one) > 1), None)) is not None:
        raise problems.refuse(f"two tokens of {name} are named {twice!r}", node, "give each its own name: history tells them by it")
    history, proxies = values.get(HISTORY_FIELD) or HistoryBounds(), values.get(PROXIES) or ()
    return ServicePolicy(tokens, values.get(HOSTS) or (), history, values.get(LIVEPEER_FIELD), proxies)


service = Form(_service, SERVICE.schema())
