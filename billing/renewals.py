"""renewal_number: how many billing cycles the current subscription has gone through."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from billing.kinds.catalogue import Price
from billing.kinds.invoices import Invoice
from billing.kinds.subscriptions import Subscription

SAME_BOUNDARY = timedelta(hours=1)
"""Boundaries closer than this count as one: Stripe may bill one transition by several invoices, moments apart."""

AT_CREATION = timedelta(seconds=60)
"""A trial that started no later than this after the creation of the subscription is the one that it began with."""

_ANY_REASON = "subscription"
"""The billing_reason of every invoice of a subscription before May 2018: of its creation, its cycles, all others."""

_COUNT = re.compile(r"[0-9]{1,9}")


def renewal_number(
    subscription: Subscription, invoices: Iterable[Invoice], prices: Sequence[Price | None]
) -> int:
    """The number of cycles gone through, from 0: the boundaries billed, without the end of its first trial.

    `invoices` may include those of other subscriptions; `prices` are those of the subscription's items, None where
    unknown. A cycle counts whether or not it was paid: a void or draft invoice marks its boundary too. An invoice of
    the end, for what was used until then, does not. Subscriptions imported from elsewhere state their earlier renewals
    in their metadata, as renewals_before_import.
    """
    own = [each for each in invoices if each.subscription_id == subscription.id and each.status != "deleted"]
    boundaries = cycle_boundaries(each for each in own if not _is_of_the_end(each, subscription))
    renewals = len(boundaries)
    if boundaries and _is_end_of_first_trial(boundaries[0], subscription, own, prices):
        renewals -= 1
    return renewals + _renewals_before_import(subscription)


def _is_of_the_end(invoice: Invoice, subscription: Subscription) -> bool:
    """Whether an invoice was made when its subscription ended, and bills nothing that comes afterwards."""
    ended, boundary, until = subscription.ended_at, invoice.period_end, invoice.lines_period_end
    if ended is None or boundary is None or until is None:
        return False
    return ended <= boundary and until <= boundary


def cycle_boundaries(invoices: Iterable[Invoice]) -> list[datetime]:
    """The distinct ends of the cycles that these invoices of one subscription bill, earliest first."""
    billed = sorted(
        ((each.period_end, each.billing_reason) for each in invoices if each.period_end is not None),
        key=lambda one: one[0],
    )
    ends = [end for end, reason in billed if reason == "subscription_cycle"]
    unnamed = [end for end, reason in billed if reason == _ANY_REASON]
    if not any(reason == "subscription_create" for _, reason in billed):
        unnamed = unnamed[1:]  # the first one is the creation
    boundaries: list[datetime] = []
    for end in sorted(ends + unnamed):
        if not boundaries or end - boundaries[-1] >= SAME_BOUNDARY:
            boundaries.append(end)
    return boundaries


def began_with_trial(subscription: Subscription) -> bool:
    """Whether the trial that Stripe shows is the one with which the subscription began, and not a later one."""
    created, began = subscription.created, subscription.trial_start
    return created is not None and began is not None and began - created <= AT_CREATION


def end_of_first_trial(
    subscription: Subscription, invoices: Iterable[Invoice], prices: Sequence[Price | None]
) -> datetime | None:
    """When the trial with which the subscription began ended or will end; None: it began without one.

    Where Stripe shows the end of a later trial, the first boundary, or an invoice for a change that bills a period
    before it, was the end of the first one. Arguments as in `renewal_number`.
    """
    own = [each for each in invoices if each.subscription_id == subscription.id and each.status != "deleted"]
    first = cycle_boundaries(own)[:1]
    if began_with_trial(subscription):
        ends = [*first, subscription.trial_end, _paid_for_since(own)]
        return min((end for end in ends if end is not None), default=None)
    return first[0] if first and _is_end_of_first_trial(first[0], subscription, own, prices) else None


def _is_end_of_first_trial(
    earliest: datetime,
    subscription: Subscription,
    invoices: Iterable[Invoice],
    prices: Sequence[Price | None],
) -> bool:
    """Whether the earliest boundary ended the trial with which the subscription began, which is no renewal.

    Usually the trial itself says so. Its end may meanwhile be that of a later trial (`trial_start` of a classic
    subscription stays). A first trial that ended before the earliest boundary was ended early, without a boundary.
    """
    invoices = list(invoices)
    if subscription.trial_start is None:
        return False
    if began_with_trial(subscription):
        ends = [subscription.trial_end, _paid_for_since(invoices)]
        ended = min((end for end in ends if end is not None), default=None)
        return ended is None or earliest - ended < SAME_BOUNDARY
    # The trial that we see is a later one; the first invoice shows whether there was one before.
    first = [invoice for invoice in invoices if invoice.billing_reason == "subscription_create"]
    # Its lines say so, whatever was added to it; rows written before that was mirrored do not have it. Or else nothing
    # was to be paid, and not because of a discount: then it would have a subtotal.
    ends = [invoice.trial_lines_end for invoice in first]
    if any(map(_costs_at_once, prices)):
        ends += [each.lines_period_end for each in first if each.total == 0 and not each.subtotal]
    return any(end is not None and abs(end - earliest) < SAME_BOUNDARY for end in ends)


def _paid_for_since(invoices: Iterable[Invoice]) -> datetime | None:
    """When a change was billed first with a period to come that costs something: no trial runs any more then."""
    billed = (
        invoice.created
        for invoice in invoices
        if invoice.billing_reason == "subscription_update"
        and invoice.created is not None
        and (invoice.subtotal or invoice.total or 0) > 0
        and invoice.lines_period_end is not None
        and invoice.lines_period_end - invoice.created >= SAME_BOUNDARY
    )
    return min(billed, default=None)


def _costs_at_once(price: Price | None) -> bool:
    """Whether a first invoice of 0 for this price means that something made it free; metered usage is billed later."""
    if price is None or price.usage_type == "metered":
        return False
    if price.unit_amount is not None:
        return price.unit_amount != 0
    # A price with fractions of a minor unit is stated only here, a tiered price in neither field.
    return price.unit_amount_decimal is None or price.unit_amount_decimal.strip("+-0.") != ""


def _renewals_before_import(subscription: Subscription) -> int:
    stated = subscription.metadata.get("renewals_before_import", "")
    return int(stated) if _COUNT.fullmatch(stated) else 0
