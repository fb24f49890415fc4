"""`subledger attach`: from a Stripe account that has customers to records that are exact, in one command."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.audit import run_audit
from cli.backfill import run_backfill
from cli.checks.finding import Finding, State
from cli.checks.stripe import look_at_key, look_at_rights, open_stripe
from cli.connect import database, environment, settings
from cli.errors import CommandError
from cli.event_types import EVENT_TYPES, is_needed
from cli.status import until_settled
from cli.terminal import counted, show, show_json
from db.address import is_loopback
from db.sync.audit_reports import AuditReport
from db.sync.fitness import count_exact
from db.sync.status import require_migrated
from runtime.scan_requests import read_request
from runtime.settings import Settings
from runtime.stripe_api import API_VERSION, StripeApi, StripeError, StripeRefused
from runtime.webhook_endpoints import PATH, list_endpoints, register_endpoint, repair_endpoint

NOT_EXACT = 1


@dataclass(frozen=True, kw_only=True)
class Attached:
    """What was done, and how it ended."""

    endpoint: str
    """registered, repaired, right, or unknown where the key may not read endpoints."""
    secret: str | None
    """The signing secret of an endpoint that was registered now, unless it went into a file."""
    drift: int
    undecided: bool
    """Whether the audit names something that it could not read or understand."""
    customers: int
    exact: int
    stuck: int

    @property
    def is_exact(self) -> bool:
        """Whether nothing is left to be done: each record is exact, or has just changed and becomes exact by itself."""
        return not (self.drift or self.undecided or self.stuck)


def attach(
    url: Annotated[str, typer.Option(metavar="URL", help=f"Where Stripe is to post: https://HOST{PATH}.")],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write a new endpoint's signing secret into this new file, not to the terminal.",
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for reads after the backfill.")
    ] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the key, register or repair the webhook endpoint, backfill, audit, and say whether all is exact.

    Needs `subledger worker` at work. Safe to run again: what is right stays. Exit code 0: every record is exact and
    equals Stripe; 1: not so, and why.
    """
    environ = environment()
    chosen = settings(environ)
    if chosen.stripe_api_key is None:
        raise CommandError(
            "without STRIPE_API_KEY nothing can be read from Stripe: set it, for the worker too"
        )
    _require_url(url, live_mode=bool(chosen.live_mode))
    if secret_file is not None and secret_file.exists():
        raise CommandError(f"{secret_file} exists already: name a new file for --secret-file")
    try:
        done = asyncio.run(_attach(environ, chosen, url=url, secret_file=secret_file, wait=wait))
    except KeyboardInterrupt:
        typer.echo("subledger: no longer watching; what was begun continues", err=True)
        raise typer.Exit(130) from None
    if as_json:
        show_json({**asdict(done), "is_exact": done.is_exact})
    else:
        show(*_page(done))
    if not done.is_exact:
        raise typer.Exit(NOT_EXACT)


def _require_url(url: str, *, live_mode: bool) -> None:
    parts = urlsplit(url)
    hint = "--url"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise typer.BadParameter(f"give it as https://HOST{PATH}", param_hint=hint)
    if parts.scheme == "http" and (live_mode or not is_loopback(parts.hostname)):
        raise typer.BadParameter("must be https: Stripe posts live events to nothing else", param_hint=hint)
    if not parts.path.endswith(PATH):
        raise typer.BadParameter(f"must end in {PATH}, which web answers", param_hint=hint)


def _say(what: str) -> None:
    typer.echo(f"subledger: {what}", err=True)


async def _attach(
    environ: Mapping[str, str], chosen: Settings, *, url: str, secret_file: Path | None, wait: float
) -> Attached:
    live_mode = bool(chosen.live_mode)
    async with database(environ) as connection:
        await require_migrated(connection)
    async with open_stripe(chosen) as stripe:
        _require([each async for each in look_at_key(stripe, chosen, with_database=True)])
        _require(await look_at_rights(stripe))
        state, secret = await _settle_endpoint(stripe, url)
    _say(f"the endpoint {url} is {state}")
    if secret is not None and secret_file is not None:
        _write(secret, secret_file)
        secret = None
    backfill = await run_backfill(environ, read_request({}), live_mode=live_mode)
    _say(f"backfill {backfill.id} is {backfill.status}")
    if backfill.status != "complete":
        raise CommandError(
            f"not everything could be read ({backfill.error or backfill.status}): fix the cause, then attach again"
        )
    await _settle(environ, chosen, wait)
    audit = await _audit(environ, live_mode=live_mode)
    if audit.drift and audit.status == "complete":
        # It has marked what differs: what is right now is what another one says.
        await _settle(environ, chosen, wait)
        audit = await _audit(environ, live_mode=live_mode)
    async with database(environ) as connection:
        count = await count_exact(connection, live_mode=live_mode)
    return Attached(
        endpoint=state,
        secret=secret,
        drift=audit.drift,
        undecided=audit.status != "complete",
        customers=count.customers,
        exact=count.exact,
        stuck=count.stuck,
    )


async def _settle(environ: Mapping[str, str], chosen: Settings, seconds: float) -> None:
    """Wait until what was found has been read; a living account may never be settled, and that is no fault."""
    _say("waiting until what was found has been read")
    await until_settled(environ, chosen.live_mode, seconds=seconds, report=lambda _: None)


async def _audit(environ: Mapping[str, str], *, live_mode: bool) -> AuditReport:
    request = read_request({}, purpose="audit", repair=True)
    report, _, _ = await run_audit(environ, request, live_mode=live_mode)
    _say(f"audit {report.id}: {counted(report.drift, 'difference')}")
    return report


def _require(findings: Sequence[Finding]) -> None:
    """Say each warning, and fail with the first failure."""
    for each in findings:
        if each.state is State.FAILURE:
            raise CommandError(f"{each.check}: {each.said}: {each.remedy}")
        if each.state is State.WARNING:
            _say(f"{each.check}: {each.said}: {each.remedy}")


async def _settle_endpoint(stripe: StripeApi, url: str) -> tuple[str, str | None]:
    """Have an endpoint at this address send exactly our types; how it is, and the secret of a new one."""
    try:
        endpoints = await list_endpoints(stripe)
    except StripeRefused as refused:
        if refused.status != 403:
            raise CommandError(f"Stripe refuses to list endpoints: {refused}") from None
        _say(f"the key may not read webhook endpoints. {_by_hand(url)}")
        return "unknown", None
    except StripeError as error:
        raise CommandError(f"Stripe gave no list of endpoints: {error}") from None
    ours = next((each for each in endpoints if each.url == url), None)
    try:
        if ours is None:
            made = await register_endpoint(stripe, url=url, event_types=EVENT_TYPES, api_version=API_VERSION)
            return "registered", made.secret
        if ours.status == "enabled" and set(ours.enabled_events) == set(EVENT_TYPES):
            return "right", None
        await repair_endpoint(stripe, ours, event_types=EVENT_TYPES)
    except StripeRefused as refused:
        if refused.status not in (401, 403):
            raise CommandError(f"Stripe refuses the endpoint: {refused}") from None
        if (
            ours is not None
            and ours.status == "enabled"
            and not any(map(is_needed, ours.lacking(EVENT_TYPES)))
        ):
            _say(
                f"the key may not change webhook endpoints, and this one sends what records need. {_by_hand(url)}"
            )
            return "right", None
        raise CommandError(f"the key may not write webhook endpoints. {_by_hand(url)}") from None
    except StripeError as error:
        raise CommandError(f"Stripe did not take the endpoint: {error}") from None
    return "repaired", None


def _by_hand(url: str) -> str:
    """How somebody whose own key may write does it."""
    types = " ".join(f"-d 'enabled_events[]={each}'" for each in EVENT_TYPES)
    return (
        "Allow it to write webhook endpoints and attach again; or see that in Stripe's dashboard the endpoint "
        f"{url} is enabled with exactly the types of `subledger events types`; or run:\n"
        f"stripe webhook_endpoints create -d url={url} -d api_version={API_VERSION} {types}"
    )


def _write(secret: str, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
    _say(f"the signing secret is in {path}: set STRIPE_WEBHOOK_SECRET_FILE to it, and restart web")


def _page(done: Attached) -> Iterator[RenderableType]:
    if done.secret is not None:
        yield Text(f"STRIPE_WEBHOOK_SECRET={done.secret}", overflow="fold")
        yield Text("Stripe shows it only now: set it for web, and restart web.", style="yellow")
        yield Text()
    waiting = done.customers - done.exact - done.stuck
    if not done.is_exact:
        reasons = [
            f"{counted(done.drift, 'difference')} from Stripe (`subledger audit`)" if done.drift else "",
            "something that could not be read or understood (`subledger audit`)" if done.undecided else "",
            f"{counted(done.stuck, 'customer')} whose history or objects are not known (`subledger status`)"
            if done.stuck
            else "",
        ]
        yield Text(f"Not exact: {'; '.join(filter(None, reasons))}.", style="red", overflow="fold")
    else:
        yield Text(
            f"Exact: {counted(done.customers, 'customer')}, and no difference from Stripe.", style="green"
        )
        if waiting:
            yield Text(f"{waiting:,} of them have just changed, and wait for their next read.", style="dim")
