"""`subledger sandbox`: a simulated Stripe account as a process, for tests in any language (docs/sandbox.md)."""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cli.errors import CommandError
from cli.terminal import pairs, show
from local.sandbox import FAULTS, STYLES, SandboxError, SandboxOptions, run_sandbox

PORT = 12111
SPEED = 21_600.0
CUSTOMERS = 60
START_WITH_SEED = datetime(2025, 1, 1, tzinfo=UTC)
"""Where an account begins whose seed is chosen: the same seed is to give the same account on any day."""


def sandbox(
    webhook_url: Annotated[str, typer.Option(metavar="URL", help="Where signed webhooks are posted.")],
    webhook_secret: Annotated[
        str | None, typer.Option(metavar="whsec_...", help="The signing secret.  [default: a new one]")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(metavar="sk_test_...", help="The key of the API.  [default: a new one]")
    ] = None,
    styles: Annotated[
        str, typer.Option(metavar="LIST", help=f"The events that are posted, of {', '.join(STYLES)}.")
    ] = "snapshot",
    seed: Annotated[
        int | None, typer.Option(help="The same seed and start give the same account, id by id.")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The account's first day.  [default: a year ago; with --seed 2025-01-01]",
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="Seconds of the account's time per second; 0: it stands still.")
    ] = SPEED,
    customers: Annotated[int, typer.Option(min=1, help="How many customers it grows to.")] = CUSTOMERS,
    host: Annotated[str, typer.Option(help="The address of the API.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: a free one.")] = PORT,
    faults: Annotated[
        str, typer.Option(metavar="LIST", help=f"What goes wrong, of {', '.join(FAULTS)}.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON at the start, and one at the end.")
    ] = False,
) -> None:
    """Run a simulated Stripe account until Ctrl-C, for tests in any language.

    Its customers sign up, renew, fail, refund, cancel and come back. Signed webhooks are posted to the URL, and the
    API answers reads and the writes that Subledger makes. Needs no database, and reads no settings.
    """
    if urlsplit(webhook_url).scheme not in ("http", "https") or not urlsplit(webhook_url).hostname:
        raise typer.BadParameter("give it as http://HOST:PORT/PATH", param_hint="--webhook-url")
    if api_key is not None and not re.fullmatch(r"[sr]k_(test|live)_\w+", api_key):
        raise typer.BadParameter("begins with sk_test_, as Stripe's do", param_hint="--api-key")
    if webhook_secret is not None and not webhook_secret.strip():
        raise typer.BadParameter("is empty", param_hint="--webhook-secret")
    began = start or (datetime.now(UTC) - timedelta(days=365) if seed is None else START_WITH_SEED)
    options = SandboxOptions(
        webhook_url=webhook_url,
        webhook_secret=webhook_secret or f"whsec_{secrets.token_hex(16)}",
        api_key=api_key or f"sk_test_{secrets.token_hex(16)}",
        styles=_chosen(styles, STYLES, "--styles") or {"snapshot"},
        faults=_chosen(faults, FAULTS, "--faults"),
        seed=secrets.randbits(32) if seed is None else seed,
        start=int(began.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC).timestamp()),
        speed=speed,
        customers=customers,
        host=host,
        port=port,
    )

    def started(api_base: str) -> None:
        said = {
            "api_base": api_base,
            "api_key": options.api_key,
            "webhook_secret": options.webhook_secret,
            "webhook_url": options.webhook_url,
            "seed": options.seed,
            "start": f"{datetime.fromtimestamp(options.start, UTC):%Y-%m-%d}",
        }
        _say("The sandbox runs until Ctrl-C", said, as_json=as_json)

    try:
        summary = run_sandbox(options, started)
    except SandboxError as error:
        raise CommandError(str(error)) from error
    _say("The sandbox has ended", asdict(summary), as_json=as_json)


def _say(title: str, said: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(said))
        return
    show(pairs(title, [(name.replace("_", " "), _worded(value)) for name, value in said.items()]))


def _worded(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,} times" for name, count in sorted(value.items())) or "-"
    return value


def _chosen(listed: str, known: Sequence[str], option: str) -> set[str]:
    chosen = {each.strip() for each in listed.split(",")} - {""}
    if unknown := sorted(chosen - {*known}):
        raise typer.BadParameter(
            f"{', '.join(unknown)}: choose of {', '.join(known)}, separated by commas", param_hint=option
        )
    return chosen
