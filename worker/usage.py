"""Usage: what meters have counted in the current period, and what the next invoice would ask for, read from Stripe.

All of it in the bulk lane: webhooks and confirmations never wait for it.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import structlog

from billing.facts import CustomerFacts
from billing.record import uid_of
from billing.usage import CustomerUsage, Metering, counted, expected_of, meterings_of, whole_minutes
from db.connection import Pool, PostgresAway
from db.mirror.facts import load_facts
from db.records.identities import select_linked_identity
from db.sync.usage import DueUsage, claim_usage, postpone_usage, select_meters, store_usage
from runtime.payload import NotJson, clean_json, read_object, said_by
from runtime.retry import backoff_seconds, retry_conflicts
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.live.reads import read_rest

PREVIEW_PATH = "/v1/invoices/create_preview"
BATCH = 8
LEASE = timedelta(minutes=5)
RETRY_SECONDS_MAX = 3600.0
REFUSED_RETRY_SECONDS = 600.0
ASKED_EVERY = timedelta(hours=1)
"""The interval that is noted while the schedule is off."""

log = structlog.get_logger()


async def refresh_usage(
    pool: Pool, stripe: StripeApi, *, live_mode: bool, every: timedelta | None, asked_only: bool = False
) -> int:
    """Read the usage of the customers for which it has been due longest; returns how many were begun.

    `every`: how often each customer's usage is read; None: only on request.
    """
    async with pool.acquire() as connection:
        due = await claim_usage(
            connection,
            live_mode=live_mode,
            limit=BATCH,
            lease=LEASE,
            asked_only=asked_only or every is None,
        )
    read = await asyncio.gather(
        *(_refresh_safely(pool, stripe, each, every=every or ASKED_EVERY) for each in due)
    )
    if due:
        log.info("usage read", customers=sum(read), failed=len(due) - sum(read))
    return len(due)


async def _refresh_safely(pool: Pool, stripe: StripeApi, due: DueUsage, *, every: timedelta) -> bool:
    """Whether it was read; why not is stored with the customer."""
    seconds = backoff_seconds(due.attempts, longest=RETRY_SECONDS_MAX)
    try:
        await _refresh(pool, stripe, due, every=every)
        return True
    except PostgresAway:
        raise  # its lease runs out
    except Exception as error:  # noqa: BLE001 - one bad customer must never stop another (I7)
        if not isinstance(error, StripeUnavailable):
            seconds = max(seconds, REFUSED_RETRY_SECONDS)
        said = said_by(error)
        log.warning("usage not read", account=due.key.account_id, customer=due.key.id, error=said)
        async with pool.acquire() as connection:
            await postpone_usage(connection, due, error=said, retry_after=timedelta(seconds=seconds))
        return False


async def _refresh(pool: Pool, stripe: StripeApi, due: DueUsage, *, every: timedelta) -> None:
    """Read one customer's usage and store it. Raises StripeError and UnknownShape."""
    account_id, live_mode, customer_id = due.key
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        (facts,) = await load_facts(connection, account_id, live_mode, {customer_id: False}, money=False)
        meterings = meterings_of(facts)
        meters = await select_meters(connection, due.key.scope, [each.meter_id for each in meterings])
        identity = await select_linked_identity(connection, due.key.scope, customer_id)
    meterings = tuple(
        each
        for each in meterings
        if each.meter_id not in meters or meters[each.meter_id].status != "inactive"
    )
    expected, error = await _expected_charges(stripe, facts, meterings)
    rows = []
    for metering in meterings:
        value, read_at = await _counted(stripe, due, metering)
        charge, currency = expected.get(metering.subscription_id, (None, None))
        meter = meters.get(metering.meter_id)
        rows.append(
            CustomerUsage(
                customer_uid=uid_of(facts) if identity is None else identity.uid,
                account_id=account_id,
                live_mode=live_mode,
                stripe_customer_id=customer_id,
                stripe_subscription_id=metering.subscription_id,
                meter_id=metering.meter_id,
                event_name=None if meter is None else meter.event_name,
                display_name=None if meter is None else meter.display_name,
                value=value,
                quota_limit=metering.quota_limit,
                period_start=metering.period_start,
                period_end=metering.period_end,
                expected_charge=charge,
                currency=currency,
                read_at=read_at,
                feature_id=metering.feature_id,
            )
        )

    async def store() -> None:
        async with pool.acquire() as connection:
            await store_usage(connection, due, rows, next_after=every if meterings else None, error=error)

    await retry_conflicts(store)


async def _counted(stripe: StripeApi, due: DueUsage, metering: Metering) -> tuple[Decimal, datetime]:
    """What a meter has counted for the customer in the period, and when Stripe said so."""
    account_id, _, customer_id = due.key
    start, end = whole_minutes(metering)
    path = (
        f"/v1/billing/meters/{quote(metering.meter_id, safe='')}/event_summaries"
        f"?customer={quote(customer_id, safe='')}&start_time={start}&end_time={end}"
    )
    answer = await stripe.read(f"{path}&limit=100", account_id=account_id)
    page = read_object(clean_json(answer.body))
    data = page.get("data")
    if not isinstance(data, list):
        raise NotJson(f"{path} answered no list")
    if page.get("has_more") is True and data:
        data += await read_rest(stripe, path, str(data[-1]["id"]), account_id=account_id)
    return counted(data), answer.answered_at


async def _expected_charges(
    stripe: StripeApi, facts: CustomerFacts, meterings: tuple[Metering, ...]
) -> tuple[Mapping[str, tuple[int, str]], str | None]:
    """What each metered subscription's next invoice would ask for, and what Stripe has refused to preview.

    A subscription that ends and owes nothing more has no next invoice, and a read-only key cannot request previews:
    usage is then stored without them.
    """
    expected: dict[str, tuple[int, str]] = {}
    refused: str | None = None
    for subscription_id in sorted({each.subscription_id for each in meterings}):
        fields = {"customer": facts.customer_id, "subscription": subscription_id}
        try:
            answer = await stripe.preview(PREVIEW_PATH, fields, account_id=facts.account_id)
        except (StripeMissing, StripeRefused) as error:
            refused = f"no expected charge: {error}"
            continue
        expected[subscription_id] = expected_of(read_object(clean_json(answer.body)))
    return expected, refused
