"""`python -m sandbox`: a living account that posts webhooks and answers the REST API until it is stopped."""

import argparse
import asyncio
import secrets
import signal
from pathlib import Path
from time import time

from sandbox.live import REPLAY_SECONDS_MAX, Origin, Place, StateFile, live
from sandbox.periods import DAY
from sandbox.thin import STYLES

DEFAULT_SPEED = 21_600.0
EPOCH_BEFORE_NOW = 365 * DAY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A simulated Stripe account whose customers sign up, renew, fail, refund, cancel and come back.",
        epilog="Ids differ from start to start. The same account comes back with the same --seed and --epoch, from its "
        "beginning; with --state it continues where it stopped. Objects of an earlier account are unknown: 404.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the REST API (default: %(default)s)")
    parser.add_argument("--port", type=int, default=12111, help="port of the REST API (default: %(default)s)")
    parser.add_argument("--webhook-url", required=True, help="URL that webhooks are posted to")
    parser.add_argument(
        "--secret", required=True, help="signing secret; of several, comma-separated, each signs"
    )
    parser.add_argument(
        "--api-key", required=True, help="accepted key (sk_test_..., sk_live_...); comma-separated"
    )
    parser.add_argument("--seed", type=int, help="seed of all random choices (default: a new one each time)")
    parser.add_argument(
        "--epoch", type=int, help="first second of the account, since 1970 (default: a year ago)"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=DEFAULT_SPEED,
        help="seconds of the account per real second (default: %(default)s)",
    )
    parser.add_argument(
        "--customers",
        type=int,
        default=60,
        help="customers at a time (default: %(default)s; a kept account has as many as it began with)",
    )
    parser.add_argument(
        "--mixed-versions", action="store_true", help="post events in old API versions as well"
    )
    parser.add_argument(
        "--limits",
        action="store_true",
        help="refuse what exceeds Stripe's limits: 25 requests a second of one operation, and of all 100 in live mode, "
        "25 in test mode",
    )
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=0.0,
        help="how long the API takes to answer (default: %(default)s)",
    )
    parser.add_argument(
        "--events",
        choices=STYLES,
        default="snapshot",
        help="which events the endpoint gets: snapshot events, thin ones, or both (default: %(default)s)",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="also show one of each thing that records tell of, as `make up` does",
    )
    parser.add_argument("--state", type=Path, help="file in which the account is kept between starts")
    return parser


def _may_go_on(arguments: argparse.Namespace, origin: Origin, elapsed_seconds: int) -> bool:
    """Whether the kept account is the one that is asked for, and young enough to be replayed."""
    asked_for = arguments.seed in (None, origin.seed) and arguments.epoch in (None, origin.epoch)
    return asked_for and elapsed_seconds <= REPLAY_SECONDS_MAX


def _split(listed: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in listed.split(",") if part.strip())


def main() -> None:
    arguments = _parser().parse_args()
    state = None if arguments.state is None else StateFile(arguments.state)
    kept = None if state is None else state.load()
    if kept is not None and _may_go_on(arguments, *kept):
        origin, elapsed_seconds = kept
    else:
        elapsed_seconds = 0
        origin = Origin(
            seed=secrets.randbits(32) if arguments.seed is None else arguments.seed,
            epoch=int(time()) - EPOCH_BEFORE_NOW if arguments.epoch is None else arguments.epoch,
            customers=arguments.customers,
            mixed_versions=arguments.mixed_versions,
            demo=arguments.demo,
        )
    place = Place(
        host=arguments.host,
        port=arguments.port,
        webhook_url=arguments.webhook_url,
        secrets=_split(arguments.secret),
        api_keys=_split(arguments.api_key),
        limits=arguments.limits,
        latency_seconds=arguments.latency_ms / 1000,
        style=arguments.events,
    )
    asyncio.run(_main(origin, place, arguments.speed, elapsed_seconds, state))


async def _main(
    origin: Origin, place: Place, speed: float, elapsed_seconds: int, state: StateFile | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await live(origin, place, speed=speed, stop=stop, elapsed_seconds=elapsed_seconds, state=state)


if __name__ == "__main__":
    main()
