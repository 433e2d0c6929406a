"""What all pages of the service have: the way to the others, and who may do what with them."""

from __future__ import annotations

from starlette.responses import HTMLResponse

from reconciler.views.html.elements import Content, Html, tag
from reconciler.views.html.page import page, page_policy

_PLACES = (("/", "Fleet"), ("/plan", "Plan"), ("/drift", "Drift"), ("/history", "History"))


def framed(title: str, at: str, *body: Content, status: int = 200, live: bool = False) -> HTMLResponse:
    """A page. `at` is the one of the places above that it belongs to; a `live` one shows a newer look by itself where scripts run."""
    links = [tag("a", name, href=Html(path), aria_current="page" if path == at else None) for path, name in _PLACES]
    text = page(
        f"gpurec: {title}",
        tag("header", tag("nav", *links, aria_label="Pages")),
        tag("main", *body, data_live=live),
        tag("p", role="status", id="news", class_="quiet"),
        served=True,
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": page_policy(True) + "; frame-ancestors 'none'"})


def table(label: str, heads: tuple[str, ...], rows: list[Html], numbers: tuple[str, ...] = ()) -> Content:
    """A table that may be wider than the window, and is scrolled by the keyboard too. `numbers` are the columns that have such."""
    head = tag("tr", *(tag("th", name, class_="number" if name in numbers else None, scope="col") for name in heads))
    inside = tag("table", tag("thead", head), tag("tbody", *rows))
    return tag("div", inside, class_="scroll", tabindex="0", role="region", aria_label=label)


def facts(*pairs: tuple[str, Content]) -> Html:
    return tag("dl", *([tag("dt", name), tag("dd", value)] for name, value in pairs), class_="facts")


def message(title: str, what: str, at: str, status: int) -> HTMLResponse:
    """That something could not be done."""
    return framed(title, at, tag("h1", title), tag("p", what, class_="alert", role="alert"), status=status)
