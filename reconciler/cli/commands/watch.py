"""`gpurec watch`: the reconcile loop as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import interval_option, loop_options, shard_option
from reconciler.cli.settings import settings_of

if TYPE_CHECKING:
    from reconciler.state import Shard


@click.command("watch")
@interval_option
@loop_options
@shard_option
@click.option(
    "--once", is_flag=True, help="One look (and one apply), for cron: 0 all is well, else as plan --detailed-exitcode or apply ends."
)
@global_options
@click.pass_context
def command(context: click.Context, interval: float, mode: str, log_format: str, shard: Shard | None, once: bool) -> int:
    """Look at the fleet again and again, tell what is news, and with --mode apply carry out what the files ask for. SIGHUP reads the files
    again, SIGTERM ends after the running steps."""
    import asyncio

    from reconciler.cli.command_line import command_line
    from reconciler.cli.service_run import signalled
    from reconciler.cli.watch_log import WatchLog
    from reconciler.service.systemd import Systemd
    from reconciler.service.watch import Signals, Watch, WatchOptions

    if once and shard is not None:
        raise click.UsageError("--once looks at the whole fleet: leave --shard out.")
    settings = settings_of(context)

    async def main() -> int:
        signals, systemd = Signals(), Systemd()
        log = WatchLog(settings, systemd, json_lines=log_format == "json")
        watch = Watch(settings, WatchOptions(interval, mode == "apply", command_line(context), shard=shard), log, signals)
        async with signalled(signals, systemd):
            if once:
                return await watch.once()
            await watch.run()
            return 0

    return asyncio.run(main())
