"""An object as a given API version shows it, with the fields that a request expands.

Versions are compared by date. The thresholds are those of Stripe's changelog that matter to readers of these objects.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sandbox.objects import Thing
from sandbox.shapes import (
    catalogue,
    checkout,
    customers,
    discounts,
    entitlements,
    invoices,
    metering,
    payments,
    subscriptions,
)
from sandbox.shapes.discounts import Source, show_discount
from sandbox.versions import Body, CannotExpandError, Version, View

_SHAPES: dict[str, Callable[..., Body]] = {
    "balance_transaction": payments.show_balance_transaction,
    "billing.meter": metering.show_meter,
    "charge": payments.show_charge,
    "checkout.session": checkout.show_checkout_session,
    "coupon": discounts.show_coupon,
    "credit_note": invoices.show_credit_note,
    "customer": customers.show_customer,
    "dispute": payments.show_dispute,
    "entitlements.active_entitlement": entitlements.show_active_entitlement,
    "entitlements.feature": entitlements.show_feature,
    "invoice": invoices.show_invoice,
    "invoice_payment": invoices.show_invoice_payment,
    "payment_intent": payments.show_payment_intent,
    "payment_method": customers.show_payment_method,
    "payout": payments.show_payout,
    "price": catalogue.show_price,
    "product": catalogue.show_product,
    "radar.early_fraud_warning": payments.show_early_fraud_warning,
    "refund": payments.show_refund,
    "review": payments.show_review,
    "setup_intent": customers.show_setup_intent,
    "subscription": subscriptions.show_subscription,
    "subscription_schedule": subscriptions.show_subscription_schedule,
    "tax_id": customers.show_tax_id,
    "test_helpers.test_clock": customers.show_clock,
}
"""By kind, how an object of it is shown."""

_ON_REQUEST: dict[tuple[str, str], Callable[[Body, Version, View], None]] = {
    ("charge", "refunds"): payments.include_refunds,
    ("checkout.session", "line_items"): checkout.include_session_lines,
    ("coupon", "applies_to"): discounts.include_applies_to,
    ("coupon", "currency_options"): discounts.include_coupon_currencies,
    ("customer", "tax_ids"): customers.include_tax_ids,
    ("invoice", "amount_paid_off_stripe"): invoices.include_off_stripe,
    ("invoice", "payments"): invoices.include_payments,
    ("plan", "tiers"): catalogue.include_tiers,
    ("price", "currency_options"): catalogue.include_currency_options,
    ("price", "tiers"): catalogue.include_tiers,
}
"""Fields that are shown only if a request expands them."""


def render(thing: Thing, shape: Version, view: View, expands: Iterable[str] = ()) -> Body:
    """The object as this version shows it, with the given paths expanded.

    Raises CannotExpandError for a path that leads nowhere.
    """
    body = _SHAPES[thing.kind](thing, shape, view)
    for path in expands:
        _expand(body, path.split("."), path, shape, view)
    return body


def _expand(body: Body, path: list[str], whole: str, shape: Version, view: View) -> None:
    head, *rest = path
    include = _ON_REQUEST.get((str(body.get("object")), head))
    if include is not None and head not in body:
        include(body, shape, view)
    if head not in body:
        raise CannotExpandError(f"This property cannot be expanded ({whole}).")
    if isinstance(body, Source) and head == "coupon":
        body[head] = body.whole
    value = body[head]
    if (isinstance(value, (bool, int)) and include is None) or (isinstance(value, str) and "_" not in value):
        raise CannotExpandError(f"This property cannot be expanded ({whole}).")
    if isinstance(value, str):
        found = view.find(value)
        if found is not None:
            body[head] = value = render(found, shape, view)
    elif isinstance(value, list):
        body[head] = value = [_shown(entry, body, shape, view) for entry in value]
    if not rest:
        return
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            _expand(entry, rest, whole, shape, view)


def _shown(entry: Any, body: Body, shape: Version, view: View) -> Any:
    if not isinstance(entry, str):
        return entry
    owner = view.find(body["id"])
    for discount in getattr(owner, "discounts", ()):
        if discount.id == entry:
            return show_discount(discount, owner, shape, view)
    found = view.find(entry)
    return entry if found is None else render(found, shape, view)
