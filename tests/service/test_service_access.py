"""Who may ask a service what: by the host, the way it listens, the token and its role; and what no page elsewhere can do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.fleet import EngineError, Role, SecretRef, ServicePolicy, Token
from reconciler.service.http import access
from reconciler.service.http.access import HEADERS, MOST_BODY, WRONG_TOKENS, Access, Tokens, asked_by
from reconciler.service.http.pages.login import login_page
from reconciler.service.http.server import Listen, parse_listen

SECRETS = {"READ": "read-secret", "PLAN": "plan-secret", "APPLY": "apply-secret"}
POLICY = ServicePolicy(
    tuple(Token(role.value, SecretRef("env", role.name), role) for role in Role),
    ("fleet.example",),
)


async def inside(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    body = await Request(scope, receive).body()
    answer: Response = JSONResponse({"caller": scope["caller"].name, "bytes": len(body)})
    await answer(scope, receive, send)


def layer(*, loopback: bool = True) -> Access:
    tokens = Tokens(POLICY, SECRETS)
    return Access(inside, lambda: tokens, frozenset({"127.0.0.1" if loopback else "10.0.0.5"}), loopback=loopback)


def asked(app: Access, method: str, path: str = "/status", *, host: str = "127.0.0.1", **options: object) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8471") as client:
            return await client.request(method, path, **options)  # type: ignore[arg-type]

    return asyncio.run(main())


def bearer(role: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"}


def test_reading_is_free_on_loopback_and_nowhere_else() -> None:
    assert asked(layer(), "GET").json()["caller"] is None
    beyond = layer(loopback=False)
    assert asked(beyond, "GET", host="10.0.0.5").status_code == 401
    assert asked(beyond, "GET", host="10.0.0.5", headers=bearer("READ")).json()["caller"] == "read"


@pytest.mark.parametrize(
    ("path", "needed"), [("/v1/apply", "APPLY"), ("/v1/gpu/rebalance", "PLAN"), ("/agents/allocate", "APPLY"), ("/anything", "APPLY")]
)
def test_writing_needs_a_token_of_the_role_on_loopback_too(path: str, needed: str) -> None:
    roles = ["READ", "PLAN", "APPLY"]
    assert asked(layer(), "POST", path).status_code == 401
    for role in roles:
        covers = roles.index(role) >= roles.index(needed)
        assert asked(layer(), "POST", path, headers=bearer(role)).status_code == (200 if covers else 403), role
    assert asked(layer(), "DELETE", "/agents/1", headers=bearer("PLAN")).status_code == 403


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic cmVhZC1zZWNyZXQ=", "read-secret", "Bearer read-secret2"])
def test_what_is_no_token_of_ours_is_refused(sent: str) -> None:
    answer = asked(layer(loopback=False), "GET", host="10.0.0.5", headers={"Authorization": sent} if sent else {})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    if sent:
        assert asked(layer(), "GET", headers={"Authorization": sent}).status_code == 401, "a wrong token is told, also where none is needed"


def test_only_names_of_its_own_are_answered_to() -> None:
    for host, status in (
        ("127.0.0.1", 200),
        ("localhost", 200),
        ("[::1]", 200),
        ("fleet.example", 200),
        ("FLEET.example.", 200),
        ("evil.example", 421),
    ):
        assert asked(layer(), "GET", host="127.0.0.1", headers={"Host": f"{host}:8471"}).status_code == status, host
    assert asked(layer(loopback=False), "GET", host="localhost", headers=bearer("READ")).status_code == 421


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_a_page_of_another_origin_writes_nothing_even_with_a_token(headers: dict[str, str]) -> None:
    assert asked(layer(), "POST", "/v1/apply", headers={**bearer("APPLY"), **headers}).status_code == 403
    own = {**bearer("APPLY"), "Origin": "http://127.0.0.1:8471", "Sec-Fetch-Site": "same-origin"}
    assert asked(layer(), "POST", "/v1/apply", headers=own).status_code == 200


def test_wrong_tokens_make_an_address_wait_and_right_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    app = layer()
    for _ in range(WRONG_TOKENS):
        assert asked(app, "POST", headers={"Authorization": "Bearer wrong"}).status_code == 401
    waits = asked(app, "POST", headers=bearer("APPLY"))
    assert waits.status_code == 429
    assert 0 < int(waits.headers["retry-after"]) <= 61
    assert asked(app, "GET").status_code == 200, "reading without one stays free"
    now += 61
    for _ in range(WRONG_TOKENS * 2):
        assert asked(app, "POST", headers=bearer("APPLY")).status_code == 200


PROXIES = (ip_network("10.0.0.0/24"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "counts"),
    [
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["somebody"], "10.0.0.1"),
        ("10.0.1.1", ["1.2.3.4"], "10.0.1.1"),
        ("", ["1.2.3.4"], ""),
    ],
)
def test_whoever_asks_through_a_trusted_proxy_is_the_last_that_is_none(peer: str, forwarded: list[str], counts: str) -> None:
    assert asked_by(peer, forwarded, PROXIES) == counts


def test_behind_a_trusted_proxy_only_who_sends_wrong_tokens_waits_and_reading_is_not_free() -> None:
    tokens = Tokens(replace(POLICY, trusted_proxies=(ip_network("127.0.0.0/8"),)), SECRETS)
    app = Access(inside, lambda: tokens, frozenset({"127.0.0.1"}), loopback=True)
    bad, good = {"X-Forwarded-For": "1.2.3.4"}, {"X-Forwarded-For": "6.6.6.6, 5.6.7.8"}
    for _ in range(WRONG_TOKENS):
        assert asked(app, "POST", headers={"Authorization": "Bearer wrong", **bad}).status_code == 401
    assert asked(app, "POST", headers={**bearer("APPLY"), **bad}).status_code == 429
    assert asked(app, "POST", headers={**bearer("APPLY"), **good}).status_code == 200
    assert asked(app, "GET", headers=good).status_code == 401
    assert asked(app, "GET").status_code == 200
    assert asked(layer(), "GET", headers=good).status_code == 401, "nor through one that nobody has named"


def test_a_body_is_bounded_with_and_without_a_length() -> None:
    assert asked(layer(), "POST", headers=bearer("APPLY"), content=b"x" * MOST_BODY).json()["bytes"] == MOST_BODY
    assert asked(layer(), "POST", headers=bearer("APPLY"), content=b"x" * (MOST_BODY + 1)).status_code == 413

    async def stream():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b"x" * 4096

    assert asked(layer(), "POST", headers=bearer("APPLY"), content=stream()).status_code >= 400
    assert asked(layer(), "POST", headers={**bearer("APPLY"), "Content-Length": "-1"}).status_code == 413


def test_every_answer_has_the_headers_that_keep_browsers_safe() -> None:
    for answer in (asked(layer(), "GET"), asked(layer(), "POST"), asked(layer(), "GET", host="evil.example")):
        assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "ünicode"])
def test_a_token_without_a_secret_is_an_error(value: str | None) -> None:
    environ = {**SECRETS, **({"APPLY": value} if value is not None else {})}
    if value is None:
        del environ["APPLY"]
    with pytest.raises(EngineError):
        Tokens(POLICY, environ)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("gpu-a", False)],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert Listen(host, 1).loopback is loopback


def test_where_to_listen_is_read_with_brackets_and_refused_without_a_port() -> None:
    assert parse_listen("[::1]:8471") == ("::1", 8471)
    assert parse_listen("localhost:0") == ("localhost", 0)
    for text in ("8471", "127.0.0.1", "127.0.0.1:", ":8471", "h:99999", "h:-1", "h:8a"):
        with pytest.raises(Exception, match="no address to listen on"):
            parse_listen(text)


def page_layer() -> Access:
    tokens = Tokens(POLICY, SECRETS)
    return Access(inside, lambda: tokens, frozenset({"10.0.0.5"}), loopback=False, login=login_page)


def test_a_browser_without_a_token_gets_the_form_and_everything_else_a_sentence() -> None:
    html = asked(page_layer(), "GET", host="10.0.0.5", headers={"Accept": "text/html,*/*"})
    assert (html.status_code, 'name="token"' in html.text) == (401, True)
    assert list(asked(page_layer(), "GET", host="10.0.0.5").json()) == ["error"]
    assert list(asked(page_layer(), "POST", host="10.0.0.5", headers={"Accept": "text/html"}).json()) == ["error"]


def test_a_cookie_reads_and_does_nothing_else_and_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tokens = 1000.0, [Tokens(POLICY, SECRETS)]
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    app = Access(inside, lambda: tokens[0], frozenset({"10.0.0.5"}), loopback=False)
    header = app._sessions.begin(SECRETS["APPLY"])
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= {part.strip() for part in header.split(";")}
    assert SECRETS["APPLY"] not in header
    cookie = {"Cookie": f"other=1; {header.partition(';')[0]}"}
    assert asked(app, "GET", host="10.0.0.5", headers=cookie).json()["caller"] == "apply"
    for method, path in (("POST", "/v1/apply"), ("DELETE", "/agents/x"), ("POST", "/v1/gpu/rebalance")):
        assert asked(app, method, path, host="10.0.0.5", headers=cookie).status_code == 401
    assert asked(app, "GET", host="10.0.0.5", headers={"Cookie": "__Host-gpurec=guess"}).status_code == 401
    tokens[0] = Tokens(POLICY, {**SECRETS, "APPLY": "another"})
    assert asked(app, "GET", host="10.0.0.5", headers=cookie).status_code == 401
    tokens[0] = Tokens(POLICY, SECRETS)
    now += access.SESSION_SECONDS + 1
    assert asked(app, "GET", host="10.0.0.5", headers=cookie).status_code == 401
