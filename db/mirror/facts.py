"""The facts of a batch of customers, read in one snapshot of the mirror."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, TypeVar, get_type_hints

import asyncpg
import msgspec

from billing.claims import claim_of
from billing.facts import CustomerFacts, Identity, uid_of_unlinked, unlinked_key
from billing.kinds.catalogue import Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.discounts import Coupon
from billing.kinds.entitlements import ActiveEntitlement, Feature
from billing.kinds.invoices import CreditNote, Invoice
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.subscriptions import (
    Subscription,
    SubscriptionItem,
    SubscriptionSchedule,
    SubscriptionScheduleItem,
)
from billing.products import stated_version
from billing.pushes import joined
from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import Scope
from db.mirror.claims import select_crowded, select_first_claims
from db.mirror.not_understood import (
    has_not_understood,
    select_not_understood,
    select_not_understood_intents,
)
from db.mirror.ranks import select_ranks
from db.mirror.unsettled import (
    select_unsettled_customers,
    select_unsettled_invoices,
    select_unsettled_objects,
    select_untold,
)

PORTION_ROWS = 500
"""Rows that are fetched and made into facts at a time, where there are many."""
PORTION_IDS = 5_000
"""Ids that are passed to Postgres at a time: encoding them takes a microsecond each."""

T = TypeVar("T")


def _names(facts: type, alias: str) -> str:
    return names_of(columns_of(facts), prefix=f"{alias}.")


SELECT_CUSTOMERS = f"""
select {_names(Customer, "c")}, c.deleted_at
from stripe.customers c
where c.account_id = $1 and c.live_mode = $2 and c.id = any ($3::text[])
"""

_IDENTITY = """
uid::text, custom_uid, name, email, description, fingerprint, send_email_receipts, metadata, sandbox_product_id,
  sandbox_end, last_seen, created_at
"""

# With what is on its way to Stripe (sync.pushes). What Stripe has got counts until a read that began afterwards is
# stored. `offset 0`: looked up by keys, whatever a planner without statistics estimates.
SELECT_IDENTITIES = f"""
select stripe_customer_id as customer_id, {_IDENTITY}, push.sent, push.sending, push.wanted
from billing.identities i
left join lateral (
  select p.sending, p.wanted, case when not exists (
    select from sync.objects o
    where o.account_id = $1 and o.live_mode = $2 and o.kind = 'customer' and o.id = p.customer_id
      and (o.confirmed > p.sent_tick or o.tombstone)
    offset 0
  ) then p.sent end as sent
  from sync.pushes p
  where p.account_id = $1 and p.live_mode = $2 and p.customer_id = i.stripe_customer_id
  offset 0
) push on true
where i.account_id = $1 and i.live_mode = $2 and i.stripe_customer_id = any ($3::text[])
"""

# `coalesce`: by the uid alone, whatever a planner thinks of how many are not linked.
SELECT_UNLINKED_IDENTITIES = f"""
select '{unlinked_key("")}' || uid as customer_id, {_IDENTITY}
from billing.identities
where account_id = $1 and live_mode = $2 and uid = any ($3::uuid[]) and coalesce(stripe_customer_id, '') = ''
"""

SELECT_SUBSCRIPTIONS = f"""
select {_names(Subscription, "s")}
from stripe.subscriptions s
where s.account_id = $1 and s.live_mode = $2 and s.customer_id = any ($3::text[]) and s.deleted_at is null
"""

SELECT_ITEMS = f"""
select {_names(SubscriptionItem, "i")}
from stripe.subscription_items i
where i.account_id = $1 and i.live_mode = $2 and i.subscription_id = any ($3::text[])
"""

SELECT_INVOICES = f"""
select {_names(Invoice, "i")}
from stripe.invoices i
where i.account_id = $1 and i.live_mode = $2 and i.customer_id = any ($3::text[]) and i.deleted_at is null
"""

# A guest's charge by its key: joined otherwise, a planner may read the account's whole index of charges.
SELECT_CHARGES = f"""
select {_names(Charge, "h")}, h.customer_id as owner_id
from stripe.charges h
where h.account_id = $1 and h.live_mode = $2 and h.customer_id = any ($3::text[])
union all
select {_names(Charge, "h")}, o.customer_id
from sync.guest_charge_owners o
join lateral (
  select {_names(Charge, "c")}
  from stripe.charges c
  where c.account_id = $1 and c.live_mode = $2 and c.id = o.charge_id
  offset 0
) h on true
where o.account_id = $1 and o.live_mode = $2 and o.customer_id = any ($3::text[])
"""

SELECT_REFUNDS = f"""
select {_names(Refund, "r")}
from stripe.refunds r
where r.account_id = $1 and r.live_mode = $2 and r.charge_id = any ($3::text[])
"""

SELECT_DISPUTES = f"""
select {_names(Dispute, "d")}
from stripe.disputes d
where d.account_id = $1 and d.live_mode = $2 and d.charge_id = any ($3::text[])
"""

SELECT_SESSIONS = f"""
select {_names(CheckoutSession, "s")}
from stripe.checkout_sessions s
where s.account_id = $1 and s.live_mode = $2 and s.customer_id = any ($3::text[])
"""

SELECT_CREDIT_NOTES = f"""
select {_names(CreditNote, "n")}
from stripe.credit_notes n
where n.account_id = $1 and n.live_mode = $2 and n.customer_id = any ($3::text[])
"""

# Only schedules that are not over; items only of the first phase, for those that have not started.
SELECT_SCHEDULES = f"""
select {_names(SubscriptionSchedule, "s")}
from stripe.subscription_schedules s
where s.account_id = $1 and s.live_mode = $2 and s.customer_id = any ($3::text[])
  and s.status in ('not_started', 'active')
"""

SELECT_SCHEDULE_ITEMS = f"""
select {_names(SubscriptionScheduleItem, "i")}
from stripe.subscription_schedule_items i
where i.account_id = $1 and i.live_mode = $2 and i.schedule_id = any ($3::text[]) and i.phase = 0
"""

SELECT_PRICES = f"""
select {_names(Price, "p")}
from stripe.prices p
where p.account_id = $1 and p.live_mode = $2 and p.id = any ($3::text[])
"""

SELECT_PRODUCTS = f"""
select {_names(Product, "p")}
from stripe.products p
where p.account_id = $1 and p.live_mode = $2 and p.id = any ($3::text[])
"""

SELECT_COUPONS = f"""
select {_names(Coupon, "p")}, p.former
from stripe.coupons p
where p.account_id = $1 and p.live_mode = $2 and p.id = any ($3::text[])
"""

SELECT_ENTITLEMENTS = f"""
select {_names(ActiveEntitlement, "e")}
from stripe.active_entitlements e
where e.account_id = $1 and e.live_mode = $2 and e.customer_id = any ($3::text[])
"""

SELECT_FEATURES = f"""
select {_names(Feature, "f")}
from stripe.features f
where f.account_id = $1 and f.live_mode = $2 and f.id = any ($3::text[])
"""


async def load_facts(
    connection: Connection,
    account_id: str,
    live_mode: bool,
    customers: Mapping[str, bool],
    *,
    gently: bool = False,
    money: bool = True,
) -> list[CustomerFacts]:
    """The facts of these customers of one account and mode (id -> complete).

    The caller holds a REPEATABLE READ transaction, so that all facts are of one moment. `gently`: there are so many
    that they are fetched in portions, with pauses in which others get as much time. Without `money`, what was sold
    and paid is left out, which is nearly all that a customer may have thousands of.
    """
    ids = list(customers)
    scope = Scope(account_id, live_mode)

    async def grouped(facts: type[T], statement: str, of: Sequence[str], *, by: str) -> dict[str, list[T]]:
        groups: dict[str, list[T]] = {}
        for some in _portions(of):
            if not gently:
                _add_facts(groups, facts, await connection.fetch(statement, *scope, some), by=by)
                continue
            cursor = await connection.cursor(statement, *scope, some)
            rows: list[asyncpg.Record] | None = None
            while rows is None or len(rows) == PORTION_ROWS:
                began = time.perf_counter()
                rows = await cursor.fetch(PORTION_ROWS)
                _add_facts(groups, facts, rows, by=by)
                await asyncio.sleep(time.perf_counter() - began)
        return groups

    customer_rows = {row["id"]: row for row in await connection.fetch(SELECT_CUSTOMERS, *scope, ids)}
    customer_facts = {customer_id: _fact(Customer, row) for customer_id, row in customer_rows.items()}
    identities = {
        row["customer_id"]: _identity(row) for row in await connection.fetch(SELECT_IDENTITIES, *scope, ids)
    }
    if unlinked := [uid for uid in map(uid_of_unlinked, ids) if uid is not None]:
        rows = await connection.fetch(SELECT_UNLINKED_IDENTITIES, *scope, unlinked)
        identities |= {row["customer_id"]: _identity(row) for row in rows}
    subscriptions = await grouped(Subscription, SELECT_SUBSCRIPTIONS, ids, by="customer_id")
    schedules = await grouped(SubscriptionSchedule, SELECT_SCHEDULES, ids, by="customer_id")
    scheduled: dict[str, list[SubscriptionScheduleItem]] = {}
    if waiting := [each.id for own in schedules.values() for each in own if each.status == "not_started"]:
        scheduled = await grouped(SubscriptionScheduleItem, SELECT_SCHEDULE_ITEMS, waiting, by="schedule_id")
    items: dict[str, list[SubscriptionItem]] = {}
    if subscriptions:
        subscription_ids = [each.id for group in subscriptions.values() for each in group]
        items = await grouped(SubscriptionItem, SELECT_ITEMS, subscription_ids, by="subscription_id")
    catalogue = await _load_catalogue(connection, scope, items, scheduled)
    coupons = await _load_coupons(connection, scope, customer_facts, subscriptions, items)
    paying = ids if money else []
    invoices = await grouped(Invoice, SELECT_INVOICES, paying, by="customer_id")
    charges = await grouped(Charge, SELECT_CHARGES, paying, by="owner_id")
    refunds: dict[str, list[Refund]] = {}
    disputes: dict[str, list[Dispute]] = {}
    if charges:
        charge_ids = [each.id for group in charges.values() for each in group]
        refunds = await grouped(Refund, SELECT_REFUNDS, charge_ids, by="charge_id")
        disputes = await grouped(Dispute, SELECT_DISPUTES, charge_ids, by="charge_id")
    sessions = await grouped(CheckoutSession, SELECT_SESSIONS, paying, by="customer_id")
    credit_notes = await grouped(CreditNote, SELECT_CREDIT_NOTES, paying, by="customer_id")
    entitlements = await grouped(ActiveEntitlement, SELECT_ENTITLEMENTS, ids, by="customer_id")
    features: dict[str, Feature] = {}
    if entitlements:
        feature_ids = {each.feature_id for group in entitlements.values() for each in group} - {None}
        rows = await connection.fetch(SELECT_FEATURES, *scope, list(feature_ids))
        features = {feature.id: feature for feature in _all(Feature, rows)}
    unsettled = await _select_unsettled(connection, scope, ids, invoices, charges, refunds, disputes)
    if bodyless := [each.id for each in customer_facts.values() if each.created is None]:
        unsettled |= await select_untold(connection, scope, bodyless)

    def gather(customer_id: str) -> CustomerFacts:
        row = customer_rows.get(customer_id)
        own_subscriptions = subscriptions.get(customer_id, [])
        own_items = [item for each in own_subscriptions for item in items.get(each.id, ())]
        own_charges = charges.get(customer_id, [])
        own_schedules = schedules.get(customer_id, [])
        own_scheduled = [item for each in own_schedules for item in scheduled.get(each.id, ())]
        own_prices, own_products = _own_prices(catalogue, own_items, own_scheduled)
        return CustomerFacts(
            account_id=account_id,
            live_mode=live_mode,
            customer_id=customer_id,
            customer=customer_facts.get(customer_id),
            deleted_at=None if row is None else row["deleted_at"],
            complete=customers[customer_id],
            settled=customer_id not in unsettled,
            identity=identities.get(customer_id),
            subscriptions=tuple(own_subscriptions),
            items=tuple(own_items),
            invoices=tuple(invoices.get(customer_id, ())),
            charges=tuple(own_charges),
            refunds=tuple(refund for charge in own_charges for refund in refunds.get(charge.id, ())),
            disputes=tuple(dispute for charge in own_charges for dispute in disputes.get(charge.id, ())),
            sessions=tuple(sessions.get(customer_id, ())),
            credit_notes=tuple(credit_notes.get(customer_id, ())),
            schedules=tuple(own_schedules),
            schedule_items=tuple(own_scheduled),
            prices=own_prices,
            price_ranks={
                each.id: catalogue.ranks[each.id] for each in own_prices if each.id in catalogue.ranks
            },
            products=own_products,
            coupons=coupons,
            entitlements=tuple(entitlements.get(customer_id, ())),
            features=tuple(
                features[each.feature_id]
                for each in entitlements.get(customer_id, ())
                if each.feature_id in features
            ),
        )

    gathered = [await asyncio.to_thread(gather, each) if gently else gather(each) for each in ids]
    return await _with_rivals(connection, scope, gathered)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Catalogue:
    """What the items of a batch refer to, by id."""

    prices: dict[str, Price] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)


async def _load_catalogue(
    connection: Connection,
    scope: Scope,
    items: Mapping[str, list[SubscriptionItem]],
    scheduled: Mapping[str, list[SubscriptionScheduleItem]],
) -> _Catalogue:
    """The prices that items have or will have, their products, and the ranks of prices that have no other version."""
    if not items and not scheduled:
        return _Catalogue()
    every_item = [item for group in items.values() for item in group]
    price_ids = {item.price_id for item in every_item}
    price_ids |= {item.price_id for own in scheduled.values() for item in own}
    rows = await connection.fetch(SELECT_PRICES, *scope, list(price_ids - {None}))
    prices = {price.id: price for price in _all(Price, rows)}
    product_ids = {item.product_id for item in every_item} | {price.product_id for price in prices.values()}
    rows = await connection.fetch(SELECT_PRODUCTS, *scope, list(product_ids - {None}))
    products = {product.id: product for product in _all(Product, rows)}
    unnamed = [
        price
        for price in prices.values()
        if price.recurring and stated_version(price, products.get(price.product_id or "")) is None
    ]
    ranks = await select_ranks(connection, scope, unnamed) if unnamed else {}
    return _Catalogue(prices=prices, products=products, ranks=ranks)


def _own_prices(
    catalogue: _Catalogue,
    items: Sequence[SubscriptionItem],
    scheduled: Sequence[SubscriptionScheduleItem],
) -> tuple[tuple[Price, ...], tuple[Product, ...]]:
    """The prices and products that one customer's items are about, now and as scheduled."""
    ids = dict.fromkeys((*(item.price_id for item in items), *(item.price_id for item in scheduled)))
    prices = tuple(catalogue.prices[each] for each in ids if each is not None and each in catalogue.prices)
    product_ids = dict.fromkeys(
        (*(item.product_id for item in items), *(price.product_id for price in prices))
    )
    products = (
        catalogue.products[each] for each in product_ids if each is not None and each in catalogue.products
    )
    return prices, tuple(products)


async def _load_coupons(
    connection: Connection,
    scope: Scope,
    customers: Mapping[str, Customer],
    subscriptions: Mapping[str, list[Subscription]],
    items: Mapping[str, list[SubscriptionItem]],
) -> tuple[Coupon, ...]:
    """The coupons of their discounts, and the earlier coupons with the same ids."""
    discounted: list[Customer | Subscription | SubscriptionItem] = [*customers.values()]
    discounted += [each for own in subscriptions.values() for each in own]
    discounted += [each for own in items.values() for each in own]
    coupon_ids = {
        discount.coupon_id
        for each in discounted
        for discount in each.discounts or ()
        if discount.coupon_id is not None
    }
    if not coupon_ids:
        return ()
    rows = await connection.fetch(SELECT_COUPONS, *scope, list(coupon_ids))
    former = [coupon for row in rows if row["former"] is not None for coupon in _former(row["former"])]
    return (*_all(Coupon, rows), *former)


_former = msgspec.json.Decoder(tuple[Coupon, ...]).decode


async def _with_rivals(
    connection: Connection, scope: Scope, facts: list[CustomerFacts]
) -> list[CustomerFacts]:
    """The facts, with the first claims of the names that these customers claim: of a crowd no more than of two."""
    claimed = {each.customer_id: claim_of(each)[0] for each in facts}
    names = {claim.custom_uid for claim in claimed.values() if claim is not None}
    if not names:
        return facts
    # Two, for the first may be the customer's own, and no longer true.
    first = await select_first_claims(connection, scope, names, limit=2)
    crowded = await select_crowded(connection, scope, names)

    def joined(each: CustomerFacts) -> CustomerFacts:
        claim = claimed[each.customer_id]
        if claim is None:
            return each
        return replace(
            each,
            rival_claims=tuple(first.get(claim.custom_uid, ())),
            crowded=claim.custom_uid in crowded,
        )

    return [joined(each) for each in facts]


async def _select_unsettled(
    connection: Connection,
    scope: Scope,
    ids: Sequence[str],
    invoices: Mapping[str, list[Invoice]],
    charges: Mapping[str, list[Charge]],
    refunds: Mapping[str, list[Refund]],
    disputes: Mapping[str, list[Dispute]],
) -> set[str]:
    """The customers with an object whose read is pending, or that is missing or parked.

    Objects that name their customer are found by it; payments, refunds and disputes by the object that they belong
    to, whose facts have just been read.
    """
    unsettled = await select_unsettled_customers(connection, scope, ids)
    of_customers = ((each.id, customer) for customer, group in invoices.items() for each in group)
    for some in _portions(of_customers):
        customer_of = dict(some)
        waiting = await select_unsettled_invoices(connection, scope, list(customer_of))
        unsettled |= {customer_of[each] for each in waiting}
    of_owners = ((charge, owner) for owner, group in charges.items() for charge in group)
    for part in _portions(of_owners):
        # A guest's charge names nobody, so it is not found by its customer.
        guests = {charge.id: owner for charge, owner in part if charge.customer_id is None}
        refunded = {each.id: owner for charge, owner in part for each in refunds.get(charge.id, ())}
        disputed = {each.id: owner for charge, owner in part for each in disputes.get(charge.id, ())}
        for kind, owner_of in (("charge", guests), ("refund", refunded), ("dispute", disputed)):
            if owner_of:
                waiting = await select_unsettled_objects(connection, scope, kind, list(owner_of))
                unsettled |= {owner_of[each] for each in waiting}
        if len(part) == PORTION_IDS:
            await asyncio.sleep(0)
    # Others have no mirror row that leads to their customer: they could not be understood.
    if await has_not_understood(connection, scope):
        unsettled |= await select_not_understood_intents(connection, scope, ids)
        for kind, of in (("invoice", invoices), ("charge", charges)):
            named = ((each.id, customer) for customer, group in of.items() for each in group)
            for some in _portions(named):
                customer_of = dict(some)
                found = await select_not_understood(connection, scope, kind, list(customer_of))
                unsettled |= {customer_of[each] for each in found}
    return unsettled


def _portions(of: Iterable[T]) -> Iterator[list[T]]:
    """These in lists that can be passed to Postgres within milliseconds."""
    left = iter(of)
    while some := list(islice(left, PORTION_IDS)):
        yield some


def _fact(facts: type[T], row: asyncpg.Record) -> T:
    values: dict[str, Any] = {name: row[name] for name in facts.__dataclass_fields__}  # type: ignore[attr-defined]
    for name, decode in _decoders(facts):  # type: ignore[arg-type]
        if values[name] is not None:
            values[name] = decode(values[name])
    return facts(**values)


@cache
def _decoders(facts: type) -> list[tuple[str, Callable[[str], Any]]]:
    """The decoders of the columns that are passed as JSON."""
    hints = get_type_hints(facts)
    names = [column.name for column in columns_of(facts) if column.type == "jsonb"]
    return [(name, msgspec.json.Decoder(hints[name]).decode) for name in names]


def _all(facts: type[T], rows: Iterable[asyncpg.Record]) -> list[T]:
    return [_fact(facts, row) for row in rows]


def _add_facts(
    groups: dict[str, list[T]], facts: type[T], rows: Sequence[asyncpg.Record], *, by: str
) -> None:
    """Add the facts to those of the same owner; the column `by` says whose they are."""
    for row in rows:
        groups.setdefault(row[by], []).append(_fact(facts, row))


def _identity(row: asyncpg.Record) -> Identity:
    values = dict(row)
    del values["customer_id"]
    written = msgspec.json.decode(values["metadata"])  # by a service, which may write anything
    found = written.items() if isinstance(written, dict) else ()
    values["metadata"] = {name: text for name, text in found if isinstance(text, str)}
    stages = [values.pop(stage, None) for stage in ("sent", "sending", "wanted")]
    if any(stages):
        values["pushed"] = joined([None if stage is None else _decode_fields(stage) for stage in stages])
    return Identity(**values)


_decode_fields = msgspec.json.Decoder(dict[str, object]).decode
