"""The frame of a page: its head, its style and script inside of it, and a policy under which nothing else runs or is fetched."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from reconciler.views.html.elements import Content, Html, tag


def page(title: str, *body: Content, served: bool = False) -> str:
    """The whole document. Its policy lets just our style and our script in, by their hashes: markup that came in with a name could load
    and run nothing. One that is `served` may send its forms to where it came from, and hear of news from there."""
    style, script = _part("style.css"), _script(served)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=page_policy(served)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body, tag('script', Html(script))), lang='en')}\n"


@cache
def page_policy(served: bool = False) -> str:
    """The Content-Security-Policy of every page of ours."""
    style, script = _hash(_part("style.css")), _hash(_script(served))
    own = "form-action 'self'; connect-src 'self'" if served else "form-action 'none'"
    return f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; {own}"


def _script(served: bool) -> str:
    return _part("script.js") + ("\n" + _part("live.js") if served else "")


@cache
def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
