"""`policy.notify`: webhooks that a service tells what is news."""

from __future__ import annotations

from dataclasses import replace

from reconciler.fleet import Notify, NotifyFormat, Topic
from reconciler.fleet.notify import USUAL_TOPICS
from reconciler.rendering import RenderingError, Template, render
from reconciler.workspace.forms import MOST_TEXT, Form, choice, list_of, scalar, secret
from reconciler.workspace.problems import Problems, Refused
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node


def _body(node: Node, problems: Problems, name: str) -> str:
    value = scalar(node, problems, name, "a template")
    if not isinstance(value.value, str) or not value.value.strip() or len(value.value) > MOST_TEXT:
        raise problems.refuse(f"{name} must be the text of a template of at most {MOST_TEXT} characters", node, "write it as a block (`|`)")
    return value.value


URL = Field(
    "url", secret, says="Where the address of the webhook is, since it is a secret: env:NAME or file:PATH.", required=True, meant="webhook"
)
ON = Field(
    "on",
    list_of(choice(Topic)),
    says=f"What is told; the default is {', '.join(one for one in Topic if one in USUAL_TOPICS)}.",
    meant="events topics",
)
FORMAT = Field(
    "format", choice(NotifyFormat), says="The shape of what is sent: plain JSON (default), Slack's or ntfy's.", meant="type kind"
)
BODY = Field("body", Form(_body, {"type": "string", "minLength": 1}), says="A template of what is sent instead.", meant="template payload")
NOTIFY = Table("notify", (URL, ON, FORMAT, BODY))

EXAMPLE = {
    "fleet": "lab",
    "topic": "drift",
    "subject": "model.m:1@gpu-a/ollama",
    "message": "was resident, is gone",
    "at": "2026-01-01T00:00:00Z",
}
"""What a body sees, to try it with."""


def _notify(node: Node, problems: Problems, name: str) -> Notify:
    values = NOTIFY.read(node, problems, name)
    url = values.get(URL)
    if url is None:
        raise Refused
    on, body = values.get(ON), values.get(BODY)
    if body is not None:
        at = values.nodes["body"]
        try:
            render(Template(str(at.place), body), EXAMPLE)
        except RenderingError as error:
            raise problems.refuse(f"body of {name}: {error.problems[0].what}", at, f"it sees {', '.join(EXAMPLE)}") from None
    return Notify("", url, frozenset(on) if on is not None else USUAL_TOPICS, values.get(FORMAT) or NotifyFormat.JSON, body)


def numbered(found: tuple[Notify, ...]) -> tuple[Notify, ...]:
    """Each with the name by which messages mean it: never by its url."""
    return tuple(replace(one, name=f"policy.notify[{place}] ({one.url})") for place, one in enumerate(found))


notify = list_of(Form(_notify, NOTIFY.schema()))
