"""`gpurec watch`: the reconcile loop as a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import interval_option
from reconciler.cli.settings import Settings, settings_of

if TYPE_CHECKING:
    from reconciler.service.watch import Signals, WatchOptions


@click.command("watch")
@interval_option
@click.option(
    "--mode", type=click.Choice(["observe", "apply"]), default="observe", show_default=True, help="Only tell, or carry plans out as well."
)
@click.option(
    "--once", is_flag=True, help="One look (and one apply), for cron: 0 all is well, else as plan --detailed-exitcode or apply ends."
)
@click.option(
    "--log", "log_format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="A line an event, on stdout."
)
@global_options
@click.pass_context
def command(context: click.Context, interval: float, mode: str, once: bool, log_format: str) -> int:
    """Look at the fleet again and again, tell what is news, and with --mode apply carry out what the files ask for. SIGHUP reads the files
    again, SIGTERM ends after the running steps."""
    from reconciler.cli.command_line import command_line
    from reconciler.service.watch import WatchOptions

    options = WatchOptions(interval, mode == "apply", command_line(context))
    return _run(settings_of(context), options, once=once, json_lines=log_format == "json")


def _run(settings: Settings, options: WatchOptions, *, once: bool, json_lines: bool) -> int:
    import asyncio

    from reconciler.cli.watch_log import WatchLog
    from reconciler.service.systemd import Systemd
    from reconciler.service.watch import Signals, Watch

    async def main() -> int:
        signals, systemd = Signals(), Systemd()
        log = WatchLog(settings, systemd, json_lines=json_lines)
        watch = Watch(settings, options, log, signals)
        with _signals(signals):
            if once:
                return await watch.once()
            alive = asyncio.ensure_future(systemd.keep_alive())
            try:
                await watch.run()
            finally:
                alive.cancel()
                systemd.send(STOPPING="1")
            return 0

    return asyncio.run(main())


@contextmanager
def _signals(signals: Signals) -> Iterator[None]:
    """SIGTERM and ^C end the loop, SIGHUP has its files read again. Where there are no such signals (Windows), ^C ends the process."""
    import asyncio
    import signal

    loop, heard = asyncio.get_running_loop(), []
    for name, act in (("SIGTERM", signals.request_stop), ("SIGINT", signals.request_stop), ("SIGHUP", signals.request_reload)):
        try:
            loop.add_signal_handler(number := getattr(signal, name), act)
        except (AttributeError, NotImplementedError, RuntimeError, ValueError):
            continue
        heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
