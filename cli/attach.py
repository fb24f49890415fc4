"""`subledger attach`: from a Stripe account that has customers to records that are exact, in one command."""

import asyncio
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
from cli.endpoint import hand_over, settle_endpoint
from cli.errors import CommandError
from cli.status import until_settled
from cli.terminal import counted, say, show, show_json
from db.address import is_loopback
from db.sync.audit_reports import AuditReport
from db.sync.fitness import count_exact
from db.sync.status import require_migrated
from runtime.scan_requests import read_request
from runtime.settings import Settings
from runtime.webhook_endpoints import PATH

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


async def _attach(
    environ: Mapping[str, str], chosen: Settings, *, url: str, secret_file: Path | None, wait: float
) -> Attached:
    live_mode = bool(chosen.live_mode)
    async with database(environ) as connection:
        await require_migrated(connection)
    async with open_stripe(chosen) as stripe:
        _require([each async for each in look_at_key(stripe, chosen, with_database=True)])
        _require(await look_at_rights(stripe))
        state, secret = await settle_endpoint(stripe, url)
    say(f"the endpoint {url} is {state}")
    secret = hand_over(secret, secret_file)
    backfill = await run_backfill(environ, read_request({}), live_mode=live_mode)
    say(f"backfill {backfill.id} is {backfill.status}")
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
    say("waiting until what was found has been read")
    await until_settled(environ, chosen.live_mode, seconds=seconds, report=lambda _: None)


async def _audit(environ: Mapping[str, str], *, live_mode: bool) -> AuditReport:
    request = read_request({}, purpose="audit", repair=True)
    report, _, _ = await run_audit(environ, request, live_mode=live_mode)
    say(f"audit {report.id}: {counted(report.drift, 'difference')}")
    return report


def _require(findings: Sequence[Finding]) -> None:
    """Say each warning, and fail with the first failure."""
    for each in findings:
        if each.state is State.FAILURE:
            raise CommandError(f"{each.check}: {each.said}: {each.remedy}")
        if each.state is State.WARNING:
            say(f"{each.check}: {each.said}: {each.remedy}")


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
