"""`gpurec serve`: the loop with an HTTP API, metrics and a page."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.options import interval_option, loop_options
from reconciler.cli.settings import settings_of


@click.command("serve")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8471", show_default=True, help="Where to listen.")
@click.option("--tls-cert", metavar="FILE", type=click.Path(path_type=Path), help="Certificate (PEM), with what it is signed by.")
@click.option("--tls-key", metavar="FILE", type=click.Path(path_type=Path), help="Its key (PEM).")
@click.option("--insecure-listen", is_flag=True, help="Listen beyond this machine without TLS: tokens go over the network as they are.")
@interval_option
@loop_options
@global_options
@click.pass_context
def command(
    context: click.Context,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure_listen: bool,
    interval: float,
    mode: str,
    log_format: str,
) -> int:
    """Watch the fleet as `gpurec watch` does, and answer over HTTP: the API, /metrics and a page. Reading is free on loopback; everything
    else needs a token of policy.service."""
    import asyncio

    from reconciler.cli.command_line import command_line
    from reconciler.cli.service_run import signalled
    from reconciler.cli.watch_log import WatchLog
    from reconciler.fleet import GuardRefused
    from reconciler.service.http.server import Listen, parse_listen, serve
    from reconciler.service.systemd import Systemd
    from reconciler.service.watch import Signals, WatchOptions

    settings = settings_of(context)
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together; give both or none.")
    host, port = parse_listen(listen)
    where = Listen(host, port, settings.path(tls_cert) if tls_cert else None, settings.path(tls_key) if tls_key else None)
    if not where.loopback and tls_cert is None and not insecure_listen:
        what = f"{host} is not this machine alone, and without TLS everybody on the way reads the tokens"
        raise GuardRefused.of(what, "--listen", "give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure-listen")

    async def main() -> None:
        signals, systemd = Signals(), Systemd()
        log = WatchLog(settings, systemd, json_lines=log_format == "json")
        options = WatchOptions(interval, mode == "apply", command_line(context))
        async with signalled(signals, systemd):
            await serve(settings, options, where, log, signals)

    asyncio.run(main())
    return 0
