"""Webhooks: what is news is sent to whom `policy.notify` names, in order, a few times where that fails, and never for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from reconciler.engines.answers import system_reason
from reconciler.engines.secrets import read_secret
from reconciler.fleet import GpurecError, Notify, NotifyFormat, SecretRef, Topic
from reconciler.operations import clock
from reconciler.rendering import Template, render
from reconciler.service.conditions import Condition
from reconciler.value_class import value_class
from reconciler.workspace import Workspace

if TYPE_CHECKING:
    import httpx

MOST_WAITING = 500
"""Alerts that wait for one webhook; more are lost, and that is said."""
TRIES = 3
PAUSES = (1.0, 5.0)
"""Seconds before the second and the third try."""
MOST_PAUSE = 30.0
"""The longest that a server may ask for (`Retry-After`)."""
TIMEOUT = 10.0
LAST = 10.0
"""Seconds that alerts have left when the loop ends."""
_LATER = frozenset({429, 500, 502, 503, 504})

Lost = Callable[[str, str, bool], None]


@value_class
class Alert:
    """What is sent of one condition. `topic` is `recovered` where it does not hold any more."""

    fleet: str
    topic: str
    subject: str
    message: str
    at: str

    def values(self) -> dict[str, str]:
        return {"fleet": self.fleet, "topic": self.topic, "subject": self.subject, "message": self.message, "at": self.at}

    @property
    def line(self) -> str:
        return f"[{self.fleet}] {self.topic}: {self.subject}: {self.message}"


def content(to: Notify, alert: Alert) -> tuple[bytes, str]:
    """The body of the request and its type. Raises GpurecError for a body template that cannot be rendered."""
    if to.body is not None:
        return render(Template(to.name, to.body), alert.values()).encode(), "application/json"
    match to.format:
        case NotifyFormat.JSON:
            return json.dumps({"format_version": 1, **alert.values()}).encode(), "application/json"
        case NotifyFormat.SLACK:
            text = alert.line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            return json.dumps({"text": text}).encode(), "application/json"
        case NotifyFormat.NTFY:
            return alert.line.encode(), "text/plain; charset=utf-8"


class Alerts:
    """Sends while the loop goes on; one request at a time for each webhook. An async context manager: at its end what waits has a moment
    left. `lost` hears of what was given up: the name of the webhook, why, and whether the one before it was given up for the same."""

    def __init__(self, lost: Lost, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self._tell_lost = lost
        self._last: dict[str, str] = {}
        """Why the last alert of a webhook was given up; nothing where it was sent."""
        self._pauses = pauses
        self._queues: dict[tuple[str, SecretRef], asyncio.Queue[tuple[Notify, Alert]]] = {}
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        waiting = [queue.join() for queue in self._queues.values()]
        if waiting:
            try:
                async with asyncio.timeout(LAST):
                    await asyncio.gather(*waiting)
            except TimeoutError:
                for (name, _url), queue in self._queues.items():
                    if queue.qsize():
                        self._lost(name, f"{queue.qsize()} alerts were not sent before the end")
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def send(self, workspace: Workspace, one: Condition, *, over: bool) -> None:
        """Has a condition told to every webhook that asks for its topic."""
        topic = Topic.RECOVERED if over else one.topic
        message = f"no longer: {one.topic}: {one.message}" if over else one.message
        for to in workspace.desired.policy.notify:
            if topic in to.on and (not over or one.topic in to.on):
                self._put(to, Alert(workspace.name, topic.value, one.subject, message, clock.now()))

    def _lost(self, name: str, why: str) -> None:
        again, self._last[name] = self._last.get(name) == why, why
        self._tell_lost(name, why, again)

    def _put(self, to: Notify, alert: Alert) -> None:
        key = to.name, to.url
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = asyncio.Queue(MOST_WAITING)
            self._workers.append(asyncio.ensure_future(self._work(queue)))
        try:
            queue.put_nowait((to, alert))
        except asyncio.QueueFull:
            self._lost(to.name, f"{MOST_WAITING} alerts wait for it already")

    async def _work(self, queue: asyncio.Queue[tuple[Notify, Alert]]) -> None:
        import httpx  # a loop without webhooks does without it, and its memory

        async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
            while True:
                to, alert = await queue.get()
                try:
                    why = await self._attempt(client, to, alert)
                    if why is not None:
                        self._lost(to.name, why)
                    else:
                        self._last.pop(to.name, None)
                finally:
                    queue.task_done()  # last: who waits for the queue may end once it is done, and is to hear of every loss before

    async def _attempt(self, client: httpx.AsyncClient, to: Notify, alert: Alert) -> str | None:
        """As `_deliver`, also where that fails: one alert is lost, and not all that follow it."""
        try:
            return await self._deliver(client, to, alert)
        except GpurecError as error:
            return error.problems[0].sentence()
        except Exception as error:  # noqa: BLE001  whatever it is
            return f"it could not be sent ({type(error).__name__})"

    async def _deliver(self, client: httpx.AsyncClient, to: Notify, alert: Alert) -> str | None:
        """Sends one; why it was given up, in one sentence that does not tell the url."""
        import httpx

        body, kind = content(to, alert)
        try:
            url = read_secret(to.url, to.name)
        except GpurecError as error:
            return replace(error.problems[0], where=None).sentence()  # that is the webhook, which is named beside it
        why = ""
        for attempt in range(TRIES):
            pause = 0.0
            try:
                async with asyncio.timeout(TIMEOUT), client.stream("POST", url, content=body, headers={"Content-Type": kind}) as answer:
                    if answer.is_success:
                        return None
                    why = f"it answered {answer.status_code}"
                    if answer.status_code not in _LATER:
                        return why
                    pause = _asked(answer.headers.get("retry-after"))
            except (httpx.InvalidURL, httpx.UnsupportedProtocol):
                return f"{to.url} holds no http:// or https:// url"
            except (httpx.HTTPError, TimeoutError, OSError) as error:
                late = isinstance(error, TimeoutError | httpx.TimeoutException)
                said = system_reason(error) or type(error).__name__
                why = f"it did not answer within {TIMEOUT:g} s" if late else f"it cannot be reached: {said}"
            if attempt < TRIES - 1:
                await asyncio.sleep(max(pause, self._pauses[min(attempt, len(self._pauses) - 1)]))
        return f"{why}, after {TRIES} tries"


def _asked(retry_after: str | None) -> float:
    """Seconds that a server asks for, within bounds; a date or nonsense counts as nothing."""
    return min(float(retry_after), MOST_PAUSE) if retry_after is not None and retry_after.isascii() and retry_after.isdecimal() else 0.0
