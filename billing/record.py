"""The record: everything that a customer's facts mean, as one pure function of them.

The same facts give the same record, in whatever order they come, so that a record can be thrown away and derived
again. Each definition is a function of its own in status, renewals, revenue, products, mrr and claims.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid5

from billing.claims import claim_of, custom_uid_of, decide
from billing.entities import CustomerEntity, entities_of
from billing.facts import CustomerFacts, UidClaim, uid_of_unlinked
from billing.features import CustomerFeature, features_of
from billing.grants import Grant, grant_of
from billing.mrr import CustomerMrr, Mrr
from billing.problems import CUSTOM_UID_TAKEN, Problem, status_unknown
from billing.products import NAMESPACE, Catalogue, CustomerProduct, items_by_subscription, products_of
from billing.pushes import metadata_with, text_with
from billing.renewals import renewal_number
from billing.revenue import Revenue, main_revenue, revenue_of
from billing.status import Policy, Status, current_of, is_known, is_live, precedence_of, standing_of
from billing.usage import meterings_of

__all__ = [
    "CustomerEntity",
    "CustomerFeature",
    "CustomerMrr",
    "CustomerProduct",
    "CustomerRecord",
    "Derived",
    "Policy",
    "Problem",
    "Revenue",
    "Status",
    "customer_uid",
    "derive_record",
    "named",
    "uid_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRecord:
    """One row of billing.customers, without what only the storage knows (change, created_at, updated_at)."""

    uid: UUID
    custom_uid: str | None
    stripe_customer_id: str | None
    account_id: str
    live_mode: bool
    name: str | None
    email: str | None
    description: str | None
    fingerprint: str | None
    metadata: dict[str, str]
    send_email_receipts: bool | None
    status: Status | None
    has_access: bool
    product_id: str | None
    product_version_number: int | None
    stripe_product_id: str | None
    stripe_price_id: str | None
    stripe_subscription_id: str | None
    quantity: int | None
    lifetime_revenue: int | None  # minor units of revenue_currency; None: a bigint cannot hold it
    revenue_currency: str | None
    renewal_number: int
    is_trial: bool
    trial_end: datetime | None
    sandbox_end: datetime | None
    subscription_date: datetime | None
    first_seen: datetime | None
    last_seen: datetime | None
    exact: bool
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """Everything that is derived for one customer."""

    customer_id: str  # Stripe's id, or the key of a customer that Stripe does not know
    record: CustomerRecord
    products: tuple[CustomerProduct, ...]
    revenue: tuple[Revenue, ...]
    features: tuple[CustomerFeature, ...]
    entities: tuple[CustomerEntity, ...]
    mrr: tuple[CustomerMrr, ...]
    problems: tuple[Problem, ...]
    claim: UidClaim | None  # the custom_uid that it claims; the record has it unless another customer does
    deciding_subscription_id: str | None  # the current subscription, whose events change the status
    precedence: (
        tuple[int, datetime, datetime, str] | None
    )  # of that subscription, among those of other customers
    grant: Grant | None  # the one that runs, while no subscription does
    metered: bool  # whether it has usage to read (billing/usage.py)
    rederive_at: datetime | None  # the next moment at which time alone changes any of this


def customer_uid(account_id: str, live_mode: bool, stripe_customer_id: str) -> UUID:
    """The uid of a customer that Stripe knew first: the same on every machine, different in each account and mode."""
    return uuid5(NAMESPACE, f"{account_id}/{'live' if live_mode else 'test'}/{stripe_customer_id}")


def uid_of(facts: CustomerFacts) -> UUID:
    """The customer's uid: the one in its identity here, else the one that follows from its Stripe id."""
    if facts.identity is not None:
        return UUID(facts.identity.uid)
    return uid_of_unlinked(facts.customer_id) or customer_uid(
        facts.account_id, facts.live_mode, facts.customer_id
    )


def named(derived: Derived, *, holder: UidClaim | None, crowded: bool) -> Derived:
    """The same, where `holder` is the claim that now has the name that this customer claims."""
    if derived.claim is None or holder is None:
        return derived
    custom_uid, taken = decide(derived.claim, holder=holder, crowded=crowded)
    others = [each for each in derived.problems if each.kind != CUSTOM_UID_TAKEN]
    problems = tuple(sorted([*others, *taken]))
    if (custom_uid, problems) == (derived.record.custom_uid, derived.problems):
        return derived
    return replace(derived, record=replace(derived.record, custom_uid=custom_uid), problems=problems)


def derive_record(facts: CustomerFacts, *, as_of: datetime, policy: Policy) -> Derived:
    """What these facts mean. Never raises, whatever Stripe says or leaves out.

    `as_of` decides only whether a grant still runs and which discounts have ended; everything else changes when Stripe
    says so.
    """
    identity = facts.identity
    uid = uid_of(facts)
    standings = [
        standing_of(subscription, deleted_at=facts.deleted_at, policy=policy)
        for subscription in facts.subscriptions
    ]
    current = current_of(standings)
    items = items_by_subscription(facts.items)
    catalogue = Catalogue(facts.prices, facts.products, facts.price_ranks)
    revenue = revenue_of(facts, customer_uid=uid)
    main = main_revenue(revenue)
    claim, problems = claim_of(facts)
    custom_uid, taken = custom_uid_of(facts, claim)
    problems += taken
    problems += [
        status_unknown(standing.subscription.id, standing.subscription.status)
        for standing in standings
        if standing.status is Status.PAST_DUE and not is_known(standing.subscription.status)
    ]

    grant, unreadable = grant_of(facts)
    problems += unreadable
    live = [standing for standing in standings if is_live(standing.status)]
    # A live subscription outranks a grant, and a deleted customer has lost its grant.
    outranked = bool(live) or facts.deleted_at is not None
    granted = grant if grant is not None and grant.end > as_of and not outranked else None

    subscription = None if current is None else current.subscription
    its_items = [] if subscription is None else items.get(subscription.id, [])
    first_item = its_items[0] if its_items else None
    stripe_product_id = None if first_item is None else catalogue.stripe_product_id_of(first_item)
    is_trial = current is not None and current.is_trial
    mrr = Mrr(facts)
    product_id = None if stripe_product_id is None else catalogue.product_id(stripe_product_id)
    version = None if first_item is None else catalogue.version_of(first_item)
    if granted is not None and granted.product_id is not None:
        product_id, version = granted.product_id, None

    record = CustomerRecord(
        uid=uid,
        custom_uid=custom_uid,
        stripe_customer_id=facts.customer_id if uid_of_unlinked(facts.customer_id) is None else None,
        account_id=facts.account_id,
        live_mode=facts.live_mode,
        name=_text_of(facts, "name"),
        email=_text_of(facts, "email"),
        description=_text_of(facts, "description"),
        fingerprint=None if identity is None else identity.fingerprint,
        metadata=_metadata_of(facts),
        send_email_receipts=None if identity is None else identity.send_email_receipts,
        status=None if current is None else current.status,
        has_access=granted is not None or any(standing.has_access for standing in live),
        product_id=product_id,
        product_version_number=version,
        stripe_product_id=stripe_product_id,
        stripe_price_id=None if first_item is None else first_item.price_id,
        stripe_subscription_id=None if subscription is None else subscription.id,
        quantity=None if first_item is None else first_item.quantity,
        lifetime_revenue=0 if main is None else main.net,
        revenue_currency=None if main is None else main.currency,
        renewal_number=0
        if subscription is None
        else renewal_number(subscription, facts.invoices, [catalogue.price_of(item) for item in its_items]),
        is_trial=is_trial,
        trial_end=subscription.trial_end if subscription is not None and is_trial else None,
        sandbox_end=None if grant is None else grant.end,
        subscription_date=None if subscription is None else subscription.start_date,
        first_seen=_first_seen(facts),
        last_seen=_last_seen(facts),
        exact=facts.complete and facts.settled,
        deleted_at=facts.deleted_at,
    )
    return Derived(
        customer_id=facts.customer_id,
        record=record,
        products=products_of(facts, customer_uid=uid, standings=standings, items=items, catalogue=catalogue),
        revenue=revenue,
        features=features_of(facts, customer_uid=uid),
        entities=entities_of(facts, customer_uid=uid),
        mrr=mrr.rows(customer_uid=uid, as_of=as_of),
        problems=tuple(sorted(problems)),
        claim=claim,
        deciding_subscription_id=record.stripe_subscription_id,
        precedence=None if current is None else precedence_of(current),
        grant=granted,
        metered=bool(meterings_of(facts)),
        rederive_at=min(
            (
                moment
                for moment in (
                    None if granted is None else granted.end,
                    mrr.next_end_of_discount(as_of=as_of),
                )
                if moment is not None
            ),
            default=None,
        ),
    )


def _text_of(facts: CustomerFacts, name: str) -> str | None:
    """What is on its way to Stripe; else what Stripe says; where it says nothing, what was said here."""
    at_stripe: str | None = None if facts.customer is None else getattr(facts.customer, name)
    if facts.identity is None:
        return at_stripe
    here: str | None = getattr(facts.identity, name)
    return text_with(facts.identity.pushed, name, here if at_stripe is None else at_stripe)


def _metadata_of(facts: CustomerFacts) -> dict[str, str]:
    """The same, key by key."""
    at_stripe = {} if facts.customer is None else facts.customer.metadata
    if facts.identity is None:
        return dict(at_stripe)
    return metadata_with(facts.identity.pushed, facts.identity.metadata | at_stripe)


def _first_seen(facts: CustomerFacts) -> datetime | None:
    """When the customer was first created, here or at Stripe."""
    created = None if facts.customer is None else facts.customer.created
    ours = None if facts.identity is None else facts.identity.created_at
    return min((time for time in (created, ours) if time is not None), default=None)


def _last_seen(facts: CustomerFacts) -> datetime | None:
    """When the customer itself was last active: usage or checks recorded here, or a Checkout. Renewals are not."""
    checkouts = [session.created for session in facts.sessions if session.status == "complete"]
    noted = None if facts.identity is None else facts.identity.last_seen
    return max((time for time in (noted, *checkouts) if time is not None), default=None)
