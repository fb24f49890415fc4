"""`subledger worker`: a worker process."""

import asyncio
import os

import uvloop

from runtime import traces
from runtime.env_file import with_env_file
from runtime.logs import configure_logs
from runtime.settings import Settings
from runtime.traces import configure_traces
from worker.process import run


def worker() -> None:
    """Bring records up to date: apply events, confirm with Stripe, derive. Start as many as you like."""
    environ = with_env_file(os.environ)
    settings = Settings.from_env(environ)
    configure_logs(settings.log_format, level=settings.log_level, secrets=settings.secrets, role="worker")
    configure_traces(environ, role="worker")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
    traces.stop()
