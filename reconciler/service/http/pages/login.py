"""Where reading needs a token, a browser exchanges it for a cookie that lets it read, and nothing else."""

from __future__ import annotations

from starlette.responses import HTMLResponse

from reconciler.service.http.pages.frame import framed
from reconciler.views.html.elements import tag


def login_page(status: int = 401, what: str | None = None) -> HTMLResponse:
    """The form, with what was wrong with the last try."""
    field = tag("input", type="password", name="token", id="token", required=True, autocomplete="current-password")
    return framed(
        "log in",
        "/login",
        tag("h1", "Log in to read"),
        tag("p", what, class_="alert", role="alert") if what else None,
        tag("p", "A token of policy.service, of any role. The cookie that it is exchanged for reads, and does nothing else."),
        tag("form", tag("label", "Token", field, for_="token"), tag("button", "Log in", type="submit"), **_FORM),
        status=status,
    )


_FORM = {"method": "post", "action": "/login", "class_": "line"}
