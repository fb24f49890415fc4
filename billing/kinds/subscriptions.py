"""Subscriptions with their items, and the schedules that change them."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.discounts import Discount, discounts_of
from billing.kinds.fields import (
    Refused,
    customer_of,
    entries_of,
    flag_of,
    id_of,
    integer_of,
    latest,
    link,
    metadata_of,
    moment_of,
    object_of,
    objects_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json, Part
from billing.kinds.kind import Kind, PartKind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(Facts):
    created: datetime | None
    customer_id: str | None
    status: str | None  # as Stripe states it
    start_date: datetime | None
    trial_start: datetime | None
    trial_end: datetime | None  # never cleared by Stripe after the trial
    cancel_at: datetime | None
    cancel_at_period_end: bool
    canceled_at: datetime | None  # when the cancellation was requested
    ended_at: datetime | None
    current_period_start: datetime | None  # the subscription's own, else the latest start among its items
    current_period_end: datetime | None  # the subscription's own, else the latest end among its items
    collection_method: str | None
    currency: str | None
    latest_invoice_id: str | None
    pause_collection: str | None  # keep_as_draft, mark_uncollectible or void
    billing_mode: str | None  # classic or flexible; None is classic
    cancellation_reason: str | None
    schedule_id: str | None
    test_clock: str | None
    metadata: dict[str, str]
    discounts: tuple[Discount, ...] | None  # in the order in which they apply; None: not known
    items_cut: bool  # Stripe did not tell all its items


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionItem(Part):
    subscription_id: str
    position: int  # Stripe's order, from 0; the first decides product, price and quantity
    created: datetime | None
    price_id: str | None
    product_id: str | None
    quantity: int | None  # None for metered prices
    current_period_start: datetime | None
    current_period_end: datetime | None
    metadata: dict[str, str]
    discounts: tuple[Discount, ...] | None  # of this item alone; None: not known


def _subscription(object_id: str, body: Json, found: Found) -> Subscription:
    entries, found.items_cut = entries_of(body, "items", needed=True)
    start = moment_of(body, "current_period_start", needed=True)
    end = moment_of(body, "current_period_end", needed=True)
    items: dict[str, SubscriptionItem] = {}
    for position, entry in enumerate(entries):
        item = _item(entry, position, object_id, start, end, found)
        items.setdefault(item.id, item)
    found.parts.update(items)
    if start is None:
        start = latest(item.current_period_start for item in items.values())
    if end is None:
        end = latest(item.current_period_end for item in items.values())

    pause = object_of(body, "pause_collection", needed=True)
    mode = object_of(body, "billing_mode")
    cancellation = object_of(body, "cancellation_details")
    return Subscription(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        status=text_of(body, "status", needed=True),
        start_date=moment_of(body, "start_date", needed=True),
        trial_start=moment_of(body, "trial_start", needed=True),
        trial_end=moment_of(body, "trial_end", needed=True),
        cancel_at=moment_of(body, "cancel_at", needed=True),
        cancel_at_period_end=flag_of(body, "cancel_at_period_end", needed=True) is True,
        canceled_at=moment_of(body, "canceled_at", needed=True),
        ended_at=moment_of(body, "ended_at", needed=True),
        current_period_start=start,
        current_period_end=end,
        collection_method=text_of(body, "collection_method"),
        currency=text_of(body, "currency", needed=True),
        latest_invoice_id=link(body, "latest_invoice", "invoice", found, needed=False),
        pause_collection=text_of(pause, "behavior", "pause_collection.", needed=True),
        billing_mode=text_of(mode, "type", "billing_mode."),
        cancellation_reason=text_of(cancellation, "reason", "cancellation_details."),
        schedule_id=link(body, "schedule", "subscription_schedule", found, needed=False),
        test_clock=id_of(body, "test_clock"),
        metadata=metadata_of(body),
        discounts=discounts_of(body, found),
        items_cut=found.items_cut,
    )


def _item(
    entry: Json,
    position: int,
    subscription_id: str,
    start: datetime | None,
    end: datetime | None,
    found: Found,
) -> SubscriptionItem:
    path = f"items.data[{position}]."
    item_id = id_of(entry, "id", path, needed=True)
    if item_id is None:
        raise Refused(path + "id", None, "an id")
    price_id = link(entry, "price", "price", found, path)
    holder = "price"
    if price_id is None:  # before prices there were plans, with the same ids
        price_id = link(entry, "plan", "price", found, path)
        holder = "plan"
    price = entry.get(holder)
    product_id = (
        link(price, "product", "product", found, f"{path}{holder}.") if isinstance(price, dict) else None
    )
    own_start = moment_of(entry, "current_period_start", path, needed=True)
    own_end = moment_of(entry, "current_period_end", path, needed=True)
    return SubscriptionItem(
        id=item_id,
        subscription_id=subscription_id,
        position=position,
        created=moment_of(entry, "created", path),
        price_id=price_id,
        product_id=product_id,
        quantity=integer_of(entry, "quantity", path, needed=True),
        # Before basil all items shared the subscription's period, and had none of their own.
        current_period_start=start if own_start is None else own_start,
        current_period_end=end if own_end is None else own_end,
        metadata=metadata_of(entry, path),
        discounts=discounts_of(entry, found, path),
    )


SUBSCRIPTION = Kind(
    name="subscription",
    stripe_object="subscription",
    table="stripe.subscriptions",
    facts=Subscription,
    list_path="/v1/subscriptions",
    retrieve_path="/v1/subscriptions/{id}",
    # The latest start among its items: of a new subscription its beginning, of a running one its last renewal.
    confirmed_along="current_period_start",
    # No deeper for items: Stripe expands four levels, and a list takes one of them. stripe.coupons has the rest.
    expands=("discounts.source.coupon", "items.data.discounts"),
    read_only_fields=("discounts",),
    names_customer=True,
    # customer.subscription.deleted is no deletion: the object can still be read, with status canceled.
    deleted_event=None,
    absorbing=frozenset({"canceled", "incomplete_expired"}),
    parse=_subscription,
    references=(
        ("customer_id", "customer"),
        ("latest_invoice_id", "invoice"),
        ("schedule_id", "subscription_schedule"),
    ),
    whole_lists=(WholeList(field="items", url="/v1/subscription_items?subscription={id}"),),
    part=PartKind(
        name="subscription_item",
        table="stripe.subscription_items",
        facts=SubscriptionItem,
        owner="subscription_id",
        read_only_fields=("discounts",),
        references=(("price_id", "price"), ("product_id", "product"), ("subscription_id", "subscription")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSchedule(Facts):
    created: datetime | None
    customer_id: str | None
    status: str | None  # not_started, active, completed, released, canceled
    subscription_id: str | None
    released_subscription_id: str | None
    starts_at: datetime | None  # of its first phase
    ends_at: datetime | None  # of its last phase
    current_phase_start: datetime | None
    current_phase_end: datetime | None
    end_behavior: str | None  # release, cancel
    canceled_at: datetime | None
    completed_at: datetime | None
    released_at: datetime | None
    test_clock: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionScheduleItem(Part):
    # `id` is `phase.position`, from 0: Stripe gives it none.
    schedule_id: str
    phase: int  # from 0, in order of time
    position: int  # Stripe's order within the phase, from 0
    phase_start: datetime | None
    phase_end: datetime | None
    price_id: str | None
    quantity: int | None  # None for metered prices


def _subscription_schedule(object_id: str, body: Json, found: Found) -> SubscriptionSchedule:
    phases = objects_of(body, "phases", needed=True)
    for number, phase in enumerate(phases):
        path = f"phases[{number}]."
        field = (
            "plans" if phase.get("items") is None else "items"
        )  # plans before 2020-08-27, of the same shape
        for position, entry in enumerate(objects_of(phase, field, path, needed=True)):
            where = f"{path}{field}[{position}]."
            price_id = link(entry, "price", "price", found, where)
            if price_id is None:
                price_id = link(entry, "plan", "price", found, where)
            found.parts[f"{number}.{position}"] = SubscriptionScheduleItem(
                id=f"{number}.{position}",
                schedule_id=object_id,
                phase=number,
                position=position,
                phase_start=moment_of(phase, "start_date", path, needed=True),
                phase_end=moment_of(phase, "end_date", path, needed=True),
                price_id=price_id,
                quantity=integer_of(entry, "quantity", where, needed=True),
            )
    current = object_of(body, "current_phase")
    return SubscriptionSchedule(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        status=text_of(body, "status", needed=True),
        subscription_id=link(body, "subscription", "subscription", found),
        released_subscription_id=link(body, "released_subscription", "subscription", found),
        starts_at=moment_of(phases[0], "start_date", "phases[0].", needed=True) if phases else None,
        ends_at=moment_of(phases[-1], "end_date", f"phases[{len(phases) - 1}].", needed=True)
        if phases
        else None,
        current_phase_start=moment_of(current, "start_date", "current_phase."),
        current_phase_end=moment_of(current, "end_date", "current_phase."),
        end_behavior=text_of(body, "end_behavior"),
        canceled_at=moment_of(body, "canceled_at"),
        completed_at=moment_of(body, "completed_at"),
        released_at=moment_of(body, "released_at"),
        test_clock=id_of(body, "test_clock"),
        metadata=metadata_of(body),
    )


SUBSCRIPTION_SCHEDULE = Kind(
    name="subscription_schedule",
    stripe_object="subscription_schedule",
    table="stripe.subscription_schedules",
    facts=SubscriptionSchedule,
    list_path="/v1/subscription_schedules",
    retrieve_path="/v1/subscription_schedules/{id}",
    confirmed_along="created",
    names_customer=True,
    absorbing=frozenset({"completed", "released", "canceled"}),
    parse=_subscription_schedule,
    concerns=(("subscription", "subscription"), ("released_subscription", "subscription")),
    references=(
        ("customer_id", "customer"),
        ("subscription_id", "subscription"),
        ("released_subscription_id", "subscription"),
    ),
    part=PartKind(
        name="subscription_schedule_item",
        table="stripe.subscription_schedule_items",
        facts=SubscriptionScheduleItem,
        owner="schedule_id",
        references=(("price_id", "price"), ("schedule_id", "subscription_schedule")),
    ),
)
