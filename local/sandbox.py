"""`subledger sandbox`: the simulated Stripe account as a process, for the tests of other programs."""

import asyncio
import errno
import signal
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from sandbox.live import Mishaps, Origin, Place, Summary, live
from sandbox.thin import Style

STYLES = ("snapshot", "thin")
FAULTS = ("late", "twice", "reordered", "lost", "limits")
LATE_SHARE = 0.1
TWICE_SHARE = 0.1
REORDERED_SECONDS = 1.0
LOST_SHARE = 0.05


class SandboxError(Exception):
    """The sandbox cannot run; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """The account, how to reach it, and how its webhooks come."""

    webhook_url: str
    webhook_secret: str = field(repr=False)
    api_key: str = field(repr=False)
    styles: Set[str]
    faults: Set[str]
    seed: int
    start: int
    """The account's first second, since 1970."""
    speed: float
    """Seconds of the account's time per second."""
    customers: int
    host: str
    port: int
    """0: a free one."""


def run_sandbox(options: SandboxOptions, started: Callable[[str], None]) -> Summary:
    """Run the account until SIGINT or SIGTERM; `started` is told the address of its API. Raises SandboxError."""
    origin = Origin(seed=options.seed, epoch=options.start, customers=options.customers)
    place = Place(
        host=options.host,
        port=options.port,
        webhook_url=options.webhook_url,
        secrets=(options.webhook_secret,),
        api_keys=(options.api_key,),
        limits="limits" in options.faults,
        style=_style(options.styles),
        mishaps=_mishaps(options.faults, options.seed),
    )
    try:
        return asyncio.run(_until_signal(origin, place, options.speed, started))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise SandboxError(
            f"{options.host}:{options.port} cannot be listened on ({error.strerror}): choose another with --port; "
            "0 takes a free one"
        ) from error


async def _until_signal(
    origin: Origin, place: Place, speed: float, started: Callable[[str], None]
) -> Summary:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await live(origin, place, speed=speed, stop=stop, started=started)


def _style(styles: Set[str]) -> Style:
    if styles >= set(STYLES):
        return "both"
    return "thin" if "thin" in styles else "snapshot"


def _mishaps(faults: Set[str], seed: int) -> Mishaps:
    return Mishaps(
        late_share=LATE_SHARE if "late" in faults else 0.0,
        twice_share=TWICE_SHARE if "twice" in faults else 0.0,
        reordered_seconds=REORDERED_SECONDS if "reordered" in faults else 0.0,
        lost_share=LOST_SHARE if "lost" in faults else 0.0,
        seed=seed,
    )
