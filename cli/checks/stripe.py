"""Stripe: the key and its rights, the clock, the webhook endpoint, and whether its webhooks arrive."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from billing.kinds.lists import listed_kinds
from billing.kinds.registry import KINDS
from cli.checks.finding import Cure, Finding, Repair, State, failure, ok, skipped, warning
from cli.event_types import EVENT_TYPES, is_needed
from cli.terminal import counted, span
from db.connection import PostgresAway, connect
from db.sync.accounts import select_served
from db.sync.fitness import is_known_event
from runtime.budget import Budget
from runtime.limits import NO_LIMITS, Limits
from runtime.settings import STRIPE_API_BASE, Settings
from runtime.stripe_api import API_VERSION, StripeApi, StripeError, StripeRefused, StripeUnavailable
from runtime.webhook_endpoints import PATH, Endpoint, list_endpoints

CLOCK_SECONDS_WORTH_A_WORD = 10.0
CLOCK_SECONDS_MAX = 120.0
"""Half way to where every webhook is refused: a signature may be five minutes old."""
ARRIVAL_SECONDS = 120.0
"""An event that Stripe made so long ago has come, if webhooks come at all."""
REQUESTS_PER_SECOND = 10.0
OLDEST_VERSION = "2020-08-27"


class _Account(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    id: str
    created: int


class _Events(msgspec.Struct):
    data: list[_Event]


@contextlib.asynccontextmanager
async def open_stripe(settings: Settings) -> AsyncIterator[StripeApi]:
    """A way to Stripe for a command: slow enough that workers do not notice."""
    is_stripe = settings.stripe_api_base == STRIPE_API_BASE
    limits = Limits(account=REQUESTS_PER_SECOND, operation=REQUESTS_PER_SECOND) if is_stripe else NO_LIMITS
    async with StripeApi(
        api_key=settings.stripe_api_key or "",
        api_base=settings.stripe_api_base,
        budget=Budget(limits, places_max=4),
    ) as stripe:
        yield stripe


async def look_at_stripe(
    settings: Settings, *, url: str | None, with_database: bool
) -> AsyncIterator[Finding]:
    """Everything that Stripe says; `url`: the endpoint's address, where it is known."""
    if settings.stripe_api_key is None:
        yield skipped("stripe key", "there is none: nothing at Stripe can be looked at")
        return
    async with open_stripe(settings) as stripe:
        works = True
        async for found in look_at_key(stripe, settings, with_database=with_database):
            yield found
            works = works and found.state is not State.FAILURE
        if not works:
            return
        for found in await look_at_rights(stripe):
            yield found
        if settings.stripe_api_key.startswith("rk_"):  # a secret key may write everything
            yield await _look_at_writes(stripe)
        async for found in _look_at_endpoint(stripe, url=url, live_mode=bool(settings.live_mode)):
            yield found
        if with_database:
            async for found in _look_at_arrival(stripe, settings):
                yield found


async def look_at_key(
    stripe: StripeApi, settings: Settings, *, with_database: bool
) -> AsyncIterator[Finding]:
    """Whose key it is, whether this database serves that account and mode, and Stripe's clock."""
    account_id = ""
    try:
        answer = await stripe.read("/v1/account", account_id="")
        account_id = msgspec.json.decode(answer.body, type=_Account).id
    except StripeRefused as refused:
        if refused.status == 401:
            yield failure(
                "stripe key", f"Stripe does not know it ({refused})", "put a valid key into STRIPE_API_KEY"
            )
            return
        if refused.status != 403:
            yield _unreachable(refused)
            return
        yield warning(
            "stripe key",
            "it may not read its own account, so it cannot be compared with the database",
            "allow it to read the account, or take care that it is of the same one",
        )
    except (StripeError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        yield _unreachable(error)
        return
    else:
        mode = "live" if settings.live_mode else "test"
        yield ok("stripe key", f"it works: account {account_id}, {mode} mode")
        yield _of_clock(answer.answered_at, settings)
    if with_database:
        yield await _compared(settings, account_id)


def _unreachable(error: Exception) -> Finding:
    return failure(
        "stripe key",
        f"Stripe gives no answer to it ({error})",
        "see that this machine reaches STRIPE_API_BASE (https://api.stripe.com) through its firewall",
    )


def _of_clock(stripe_now: datetime, settings: Settings) -> Finding:
    if settings.stripe_api_base != STRIPE_API_BASE:
        return skipped("clock of stripe", "a test double has its own")
    apart = abs((stripe_now - datetime.now(UTC)).total_seconds())
    said = f"it and this machine's are {span(apart)} apart"
    if apart > CLOCK_SECONDS_MAX:
        return failure(
            "clock of stripe", f"{said}: from 5 min on every webhook is refused", "set this machine's by NTP"
        )
    if apart > CLOCK_SECONDS_WORTH_A_WORD:
        return warning("clock of stripe", said, "set this machine's by NTP")
    return ok("clock of stripe", "it agrees with this machine's")


async def _compared(settings: Settings, account_id: str) -> Finding:
    name = "stripe key and database"
    try:
        connection = await connect(settings.database_url, application_name="subledger doctor")
    except PostgresAway:
        return skipped(name, "Postgres cannot be asked")
    try:
        served = await select_served(connection)
    except PostgresAway:
        return skipped(name, "Postgres cannot be asked")
    finally:
        connection.terminate()
    if served is None:
        return ok(name, "the database serves no account yet: the first key that works decides")
    if served.live_mode != settings.live_mode:
        mode, other = ("live", "test") if served.live_mode else ("test", "live")
        return failure(
            name,
            f"the database serves {mode} mode, and the key is of {other} mode",
            f"set STRIPE_API_KEY to a {mode} key, or DATABASE_URL to another database",
        )
    if account_id and served.account_id not in ("", account_id):
        return failure(
            name,
            f"the database was filled from {served.account_id}, and the key is of {account_id}",
            f"set STRIPE_API_KEY to a key of {served.account_id}, or DATABASE_URL to another database",
        )
    return ok(name, "of the same account and mode")


# Rights


async def look_at_rights(stripe: StripeApi) -> list[Finding]:
    """Whether the key may read each list that we read: one request each."""
    paths = {name: path for name in listed_kinds() if (path := KINDS[name].list_path) is not None} | {
        "event": "/v1/events"
    }
    answers = await asyncio.gather(*(_refusal_of(stripe, path) for path in paths.values()))
    refused = {name: said for name, said in zip(paths, answers, strict=True) if said is not None}
    needed = [name for name in refused if name == "event" or KINDS[name].confirmed_by == "reads"]
    others = [name for name in refused if name not in needed]
    found = []
    if needed:
        found.append(
            failure(
                "stripe rights",
                f"the key may not read what records need: {_worded(needed)} ({refused[needed[0]]})",
                f"allow the key to read {_worded(needed)}, in Stripe's dashboard under API keys",
            )
        )
    if others:
        found.append(
            warning(
                "stripe rights",
                f"the key may not read what is only mirrored: {_worded(others)}",
                f"allow the key to read {_worded(others)}, or do without these tables (docs/mirror.md)",
            )
        )
    return found or [ok("stripe rights", f"the key may read all {len(paths)} lists")]


async def _refusal_of(stripe: StripeApi, path: str) -> str | None:
    try:
        await stripe.read(f"{path}?limit=1", account_id="")
    except StripeRefused as refused:
        # Some lists want a parameter more: who is told so was let in.
        return str(refused) if refused.status in (401, 403) else None
    except StripeUnavailable as error:
        return str(error)
    except StripeError:
        return None
    return None


def _worded(kinds: Sequence[str]) -> str:
    return ", ".join(kind.replace("_", " ") + "s" for kind in kinds)


WRITES = {
    "customers": ("/v1/customers/cus_subledger_doctor", "create_in_stripe and changes of customers"),
    "Checkout Sessions": ("/v1/checkout/sessions", "checkout"),
    "the customer portal": ("/v1/billing_portal/sessions", "portal"),
    "billing meter events": ("/v1/billing/meter_events", "track"),
}
"""What the customers API writes at Stripe: a request each that lacks what it needs, and the calls that make it."""


async def _look_at_writes(stripe: StripeApi) -> Finding:
    """Whether a restricted key may write what the customers API writes.

    Stripe looks at the right first. Who has it is told that the customer is unknown, or that a parameter is missing:
    nothing is created or changed.
    """
    name = "stripe writes"
    answers = await asyncio.gather(*(_may_post(stripe, path) for path, _ in WRITES.values()))
    lacking = [each for each, may in zip(WRITES, answers, strict=True) if may is False]
    if None in answers:
        return skipped(name, "Stripe did not say what the key may write")
    if not lacking:
        return ok(name, "the key may write all that the customers API writes")
    calls = ", ".join(WRITES[each][1] for each in lacking)
    if len(lacking) == len(WRITES):
        return ok(
            name, f"the key only reads; these calls of the customers API (docs/api.md) need more: {calls}"
        )
    return warning(
        name,
        f"the key may not write {', '.join(lacking)}",
        f"allow it to write {', '.join(lacking)} if you use these calls of the customers API (docs/api.md): {calls}",
    )


async def _may_post(stripe: StripeApi, path: str) -> bool | None:
    """None if Stripe gave no answer to that."""
    try:
        await stripe.preview(path, {}, account_id="")
    except StripeRefused as refused:
        return refused.status not in (401, 403)
    except StripeUnavailable:
        return None
    except StripeError:
        return True
    return True


# The endpoint


async def _look_at_endpoint(stripe: StripeApi, *, url: str | None, live_mode: bool) -> AsyncIterator[Finding]:
    name = "webhook endpoint"
    try:
        endpoints = await list_endpoints(stripe)
    except StripeRefused as refused:
        if refused.status != 403:
            yield failure(name, f"Stripe refuses to list endpoints ({refused})", "see what it says")
            return
        yield warning(
            name,
            "the key may not read endpoints, so it cannot be compared",
            "allow the key to read webhook endpoints, or compare the one in Stripe's dashboard with "
            "`subledger events types`",
        )
        return
    except StripeError as error:
        yield warning(name, f"Stripe gave no list of endpoints ({error})", "try again")
        return
    ours = (
        [each for each in endpoints if each.url == url]
        if url
        else [each for each in endpoints if each.is_ours]
    )
    if not ours:
        others = ", ".join(each.url for each in endpoints[:3])
        yield failure(
            name,
            f"none posts to {url or PATH}" + (f"; there are {others}" if others else ""),
            f"run `subledger attach --url {url or f'https://HOST{PATH}'}`",
            Repair(cure=Cure.ENDPOINT, what=f"register the webhook endpoint {url}", target=url)
            if url
            else None,
        )
        return
    for endpoint in ours:
        for found in findings_of(endpoint, live_mode=live_mode):
            yield found
    if len({each.url for each in ours}) < len(ours):
        yield warning(
            name,
            "two have the same address: each event comes twice, which costs time and nothing else",
            "delete one, unless one of them listens to connected accounts",
        )


def findings_of(endpoint: Endpoint, *, live_mode: bool) -> Iterator[Finding]:
    """How an endpoint of ours is: status, address, event types, version."""
    name = f"webhook endpoint {endpoint.id}"
    attach = f"run `subledger attach --url {endpoint.url}`, or change it in Stripe's dashboard"
    repair = Repair(
        cure=Cure.ENDPOINT,
        what=f"enable the webhook endpoint {endpoint.url}, with exactly the types that we handle",
        target=endpoint.url,
    )
    before = 0
    if endpoint.status != "enabled":
        before += 1
        yield failure(name, f"it is {endpoint.status}: Stripe posts nothing", attach, repair)
    if live_mode and not endpoint.url.startswith("https://"):
        before += 1
        yield failure(name, f"{endpoint.url} is not https", "put a proxy with TLS before web (docs/proxy.md)")
    lacking = endpoint.lacking(EVENT_TYPES)
    needed = [each for each in lacking if is_needed(each)]
    if needed:
        before += 1
        yield failure(
            name,
            f"it does not send {counted(len(needed), 'type')} that records need: {_few(needed)}",
            attach,
            repair,
        )
    elif lacking:
        before += 1
        yield warning(
            name,
            f"it does not send {counted(len(lacking), 'type')} of the mirror: {_few(lacking)}",
            attach,
            repair,
        )
    surplus = [each for each in endpoint.surplus(EVENT_TYPES) if each != "*"]
    if surplus:
        yield ok(name, f"it also sends {counted(len(surplus), 'type')} that are ignored: {_few(surplus)}")
    version = endpoint.api_version
    if version is not None and not OLDEST_VERSION <= version[:10] <= API_VERSION[:10]:
        before += 1
        yield warning(
            name,
            f"its API version is {version}, which is not tested",
            f"register one with a version from {OLDEST_VERSION} to {API_VERSION}",
        )
    if not before:
        yield ok(name, f"{endpoint.url} is enabled, and sends what records need")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


# Arrival


async def _look_at_arrival(stripe: StripeApi, settings: Settings) -> AsyncIterator[Finding]:
    """Whether the latest event that should have come is in the inbox."""
    name = "arrival of events"
    try:
        answer = await stripe.read("/v1/events?limit=100", account_id="")
        events = msgspec.json.decode(answer.body, type=_Events).data
    except (StripeError, msgspec.MsgspecError, UnicodeDecodeError):
        return  # said among the rights
    now = answer.answered_at.timestamp()
    due = [each for each in events if each.created <= now - ARRIVAL_SECONDS]
    if not due:
        yield skipped(name, "Stripe has made no event that should have come by now")
        return
    try:
        connection = await connect(settings.database_url, application_name="subledger doctor")
    except PostgresAway:
        yield skipped(name, "Postgres cannot be asked")
        return
    try:
        known = await is_known_event(connection, due[0].id, live_mode=bool(settings.live_mode))
    except PostgresAway:
        yield skipped(name, "Postgres cannot be asked")
        return
    finally:
        connection.terminate()
    ago = span(now - due[0].created)
    if known:
        yield ok(name, f"the event that Stripe made {ago} ago has come")
    else:
        yield failure(
            name,
            f"{due[0].id}, which Stripe made {ago} ago, has not come",
            "see that Stripe reaches the endpoint (its page in the dashboard shows each delivery), that "
            "STRIPE_WEBHOOK_SECRET is this endpoint's, and that a worker fills gaps",
        )
