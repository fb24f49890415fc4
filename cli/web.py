"""`subledger web`: the web process."""

import contextlib
import os
from typing import Annotated

import typer
import uvicorn

from runtime import traces
from runtime.env_file import with_env_file
from runtime.logs import configure_logs
from runtime.settings import Settings
from runtime.traces import configure_traces
from webhooks.app import create_app
from webhooks.connections import backlog, bounded_protocol, connections_max
from webhooks.draining import DrainingServer, inherited_sockets

STARTUP_FAILURE = 3
"""The exit code with which uvicorn says that it could not start."""


def web(
    host: Annotated[str, typer.Option(help="The address to listen on; the port is PORT.")] = "0.0.0.0",
) -> None:
    """Receive webhooks: the process that Stripe posts to."""
    environ = with_env_file(os.environ)
    settings = Settings.from_env(environ).for_web()
    configure_logs(settings.log_format, level=settings.log_level, secrets=settings.secrets, role="web")
    configure_traces(environ, role="web")
    count_max = connections_max()
    protocol = bounded_protocol(count_max)
    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=settings.port,
        loop="uvloop",
        http=protocol,
        ws="none",
        backlog=backlog(count_max),
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = DrainingServer(config, protocol, sockets=inherited_sockets(), at_end=traces.stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.start()
    traces.stop()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)
