"""Why a resource is where it is: its reason, every engine that could have it, and what was done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.service.http.pages.frame import facts, table
from reconciler.views.html.elements import Content, code, tag


def why_body(explanation: str) -> Content:
    """`explanation` is what `gpurec explain --format json` says."""
    found: Mapping[str, Any] = json.loads(explanation)
    engines = [
        tag(
            "tr",
            tag("td", code(one["engine"])),
            tag("td", "yes" if one["fits"] else "no"),
            tag("td", one["reason"]["message"]),
            data_row=True,
        )
        for one in found["candidates"]
    ]
    steps = [
        tag("tr", tag("td", one["at"]), tag("td", one["action"]), tag("td", one["status"]), tag("td", one["reason"] or ""), data_row=True)
        for one in found["history"]
    ]
    standing = " ".join(filter(None, (found["standing"], found["detail"])))
    hints = [tag("li", one) for one in found["would_fit_if"]]
    return [
        tag("h1", "Why ", code(found["address"])),
        tag("p", found["why"]["message"]),
        facts(("status", standing or "unknown"), ("reason", code(found["why"]["code"]))),
        [tag("h2", "It would fit if"), tag("ul", *hints)] if hints else None,
        [tag("h2", "Engines that could have it"), table("Engines", ("engine", "fits", "why"), engines)] if engines else None,
        [tag("h2", "What was done about it"), table("Steps", ("at", "action", "ended", "why"), steps)] if steps else None,
    ]
