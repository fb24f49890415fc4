"""How a given API version shows an object: one function per object, written after Stripe's own example objects.

A version is compared by its date. The thresholds are those of Stripe's changelog that a reader of these objects meets.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sandbox.objects import (
    Charge,
    CheckoutSession,
    Coupon,
    Customer,
    Discount,
    Dispute,
    Invoice,
    InvoicePayment,
    Item,
    Line,
    PaymentIntent,
    Price,
    Product,
    Refund,
    SessionLine,
    Subscription,
    Thing,
)
from sandbox.side_shapes import SIDE_SHAPES, balance_transaction, clock_of, coupon
from sandbox.versions import Body, CannotExpandError, Version, View, cut_listing

_NOWHERE: Body = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


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
    if isinstance(body, _Source) and head == "coupon":
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
            return _discount(discount, owner, shape, view)
    found = view.find(entry)
    return entry if found is None else render(found, shape, view)


def _customer(thing: Customer, shape: Version, view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "customer",
        "address": None,
        "balance": thing.balance,
        "created": thing.created,
        "currency": thing.currency,
        "default_source": None,
        "delinquent": thing.delinquent,
        "description": thing.description,
        "discount": None,
        "email": thing.email,
        "invoice_prefix": thing.id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": thing.default_payment_method,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "name": thing.name,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": thing.test_clock,
    }
    if shape.endive:
        body["customer_account"] = None
    return body


def deleted_customer(customer_id: str) -> Body:
    return {"id": customer_id, "object": "customer", "deleted": True}


def _product(thing: Product, shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "product",
        "active": thing.active,
        "created": thing.created,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": view.live_mode,
        "marketing_features" if shape.name >= "2024-04-10" else "features": [],
        "metadata": dict(thing.metadata),
        "name": thing.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": thing.updated,
        "url": None,
    }


def _price(thing: Price, shape: Version, view: View) -> Body:
    recurring: Body | None = None
    if thing.interval is not None:
        recurring = {
            "interval": thing.interval,
            "interval_count": thing.interval_count,
            "meter": thing.meter,
            "trial_period_days": None,
            "usage_type": "metered" if thing.metered else "licensed",
        }
        if not shape.basil:
            recurring["aggregate_usage"] = "sum" if thing.metered else None
    return {
        "id": thing.id,
        "object": "price",
        "active": thing.active,
        "billing_scheme": "tiered" if thing.tiers else "per_unit",
        "created": thing.created,
        "currency": thing.currency,
        "custom_unit_amount": None,
        "livemode": view.live_mode,
        "lookup_key": None,
        "metadata": dict(thing.metadata),
        "nickname": thing.nickname,
        "product": thing.product,
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers_mode": thing.tiers_mode,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": None if thing.tiers else thing.unit_amount,
        "unit_amount_decimal": None if thing.tiers else str(thing.unit_amount),
    }


def plan(thing: Price, _shape: Version, view: View) -> Body:
    """The recurring price under its old name; both share one id."""
    return {
        "id": thing.id,
        "object": "plan",
        "active": thing.active,
        "amount": None if thing.tiers else thing.unit_amount,
        "amount_decimal": None if thing.tiers else str(thing.unit_amount),
        "billing_scheme": "tiered" if thing.tiers else "per_unit",
        "created": thing.created,
        "currency": thing.currency,
        "interval": thing.interval,
        "interval_count": thing.interval_count,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "meter": thing.meter,
        "nickname": thing.nickname,
        "product": thing.product,
        "tiers_mode": thing.tiers_mode,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "metered" if thing.metered else "licensed",
    }


class _Source(Body):
    """Where a discount comes from: names its coupon, and has it for who asks to have it expanded."""

    def __init__(self, coupon: Body) -> None:
        super().__init__(type="coupon", coupon=coupon["id"])
        self.whole = coupon


def _discount(discount: Discount, owner: Thing | None, shape: Version, view: View) -> Body:
    whole = coupon(discount.coupon, shape, view)
    body: Body = {
        "id": discount.id,
        "object": "discount",
        "checkout_session": None,
        "customer": None if owner is None else owner.customer,
        "end": discount.end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "start": discount.start,
        "subscription": owner.id if isinstance(owner, Subscription) else getattr(owner, "subscription", None),
    }
    if shape.discount_source:
        body["source"] = _Source(whole)
    else:
        body["coupon"] = whole
    return body


def _discount_fields(owner: Subscription | Invoice, shape: Version, view: View) -> Body:
    fields: Body = {}
    if shape.single_discount:
        fields["discount"] = _discount(owner.discounts[0], owner, shape, view) if owner.discounts else None
    if shape.discount_lists:
        fields["discounts"] = [discount.id for discount in owner.discounts]
    return fields


def item(thing: Item, subscription: Subscription, shape: Version, view: View) -> Body:
    price = view.find(thing.price)
    if not isinstance(price, Price):
        raise KeyError(f"{thing.id} names the unknown price {thing.price}")
    body: Body = {
        "id": thing.id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": thing.created,
        "metadata": dict(thing.metadata),
        "plan": plan(price, shape, view),
        "price": _price(price, shape, view),
        "subscription": subscription.id,
        "tax_rates": [],
    }
    if shape.discount_lists:
        body["discounts"] = []
    if thing.quantity is not None:
        body["quantity"] = thing.quantity
    if shape.item_periods:
        body["current_period_start"] = thing.period_start
        body["current_period_end"] = thing.period_end
    if shape.endive:
        body["billed_until"] = thing.period_start
        body["current_trial"] = None
    return body


def _subscription(thing: Subscription, shape: Version, view: View) -> Body:
    items = [item(entry, thing, shape, view) for entry in thing.items]
    pending: Body | None = None
    if thing.pending_update is not None:
        pending = {
            "billing_cycle_anchor": None,
            "expires_at": thing.pending_update_expires_at,
            "subscription_items": [
                {"id": key, "quantity": count} for key, count in thing.pending_update.items()
            ],
            "trial_end": None,
            "trial_from_plan": None,
        }
    body: Body = {
        "id": thing.id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None},
        "billing_cycle_anchor": thing.billing_cycle_anchor,
        "billing_thresholds": None,
        "cancel_at": thing.cancel_at,
        "cancel_at_period_end": thing.cancel_at_period_end,
        "canceled_at": thing.canceled_at,
        "cancellation_details": {"comment": None, "feedback": None, "reason": thing.cancellation_reason},
        "collection_method": thing.collection_method,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "days_until_due": thing.days_until_due,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "ended_at": thing.ended_at,
        "items": cut_listing(f"/v1/subscription_items?subscription={thing.id}", items),
        "latest_invoice": thing.latest_invoice,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": (
            None
            if thing.pause_collection is None
            else {"behavior": thing.pause_collection, "resumes_at": None}
        ),
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": pending,
        "schedule": thing.schedule,
        "start_date": thing.start_date,
        "status": thing.status,
        "test_clock": thing.test_clock,
        "transfer_data": None,
        "trial_end": thing.trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": thing.trial_without_card}},
        "trial_start": thing.trial_start,
    }
    body.update(_discount_fields(thing, shape, view))
    if not shape.basil:
        body["current_period_start"] = max(entry.period_start for entry in thing.items)
        body["current_period_end"] = min(entry.period_end for entry in thing.items)
        only = items[0] if len(items) == 1 else None
        body["plan"] = None if only is None else only["plan"]
        body["quantity"] = None if only is None else only.get("quantity")
    if shape.billing_mode:
        body["billing_mode"] = {"type": thing.billing_mode}
    if shape.endive:
        body["customer_account"] = None
        body["status_details"] = (
            None
            if thing.pause_reason is None
            else {"paused": {"type": "subscription", "subscription": {"type": thing.pause_reason}}}
        )
    return body


def line(entry: Line, invoice: Invoice, shape: Version, view: View) -> Body:
    body: Body = {
        "id": entry.id,
        "object": "line_item",
        "amount": entry.amount,
        "currency": invoice.currency,
        "description": entry.description,
        "discount_amounts": [],
        "discountable": not entry.proration,
        "discounts": [],
        "livemode": view.live_mode,
        "metadata": {},
        "period": {"start": entry.period_start, "end": entry.period_end},
        "quantity": entry.quantity,
    }
    price = None if entry.price is None else view.find(entry.price)
    from_item = entry.item is None or entry.proration
    invoice_item = "ii_" + entry.id[3:] if from_item else None
    if shape.basil:
        details: Body = {
            "invoice_item": invoice_item,
            "proration": entry.proration,
            "proration_details": None,
            "subscription": entry.subscription,
        }
        if from_item:
            parent: Body = {
                "type": "invoice_item_details",
                "invoice_item_details": details,
                "subscription_item_details": None,
            }
        else:
            parent = {
                "type": "subscription_item_details",
                "invoice_item_details": None,
                "subscription_item_details": {**details, "subscription_item": entry.item},
            }
        body["invoice"] = invoice.id
        body["parent"] = parent
        body["subtotal"] = entry.amount
        body["pretax_credit_amounts"] = []
        body["taxes"] = []
        body["pricing"] = (
            {
                "type": "price_details",
                "price_details": {"price": price.id, "product": price.product},
                "unit_amount_decimal": None if price.tiers else str(price.unit_amount),
            }
            if isinstance(price, Price)
            else None
        )
        return body
    body["type"] = "invoiceitem" if from_item else "subscription"
    body["proration"] = entry.proration
    body["proration_details"] = {"credited_items": None}
    body["subscription"] = entry.subscription
    if invoice_item is not None:
        body["invoice_item"] = invoice_item
    if entry.item is not None:
        body["subscription_item"] = entry.item
    body["price"] = _price(price, shape, view) if isinstance(price, Price) else None
    body["plan"] = (
        plan(price, shape, view) if isinstance(price, Price) and price.interval is not None else None
    )
    body["tax_rates"] = []
    return body


def _payments_of(invoice: Invoice, view: View) -> list[InvoicePayment]:
    found = (view.find(payment_id) for payment_id in invoice.payments)
    return [payment for payment in found if isinstance(payment, InvoicePayment)]


def _invoice(thing: Invoice, shape: Version, view: View) -> Body:
    customer = view.find(thing.customer or "")
    known = customer if isinstance(customer, Customer) else None
    paid_out_of_band = thing.paid_off_stripe > 0 and thing.paid_by_stripe == 0
    paid = thing.paid_by_stripe + (thing.paid_off_stripe if shape.basil else 0)
    lines = [line(entry, thing, shape, view) for entry in thing.lines]
    body: Body = {
        "id": thing.id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Sandbox",
        "account_tax_ids": None,
        "amount_due": thing.amount_due,
        "amount_paid": paid,
        "amount_remaining": max(thing.amount_due - paid, 0),
        "amount_shipping": 0,
        "application": None,
        "attempt_count": thing.attempt_count,
        "attempted": thing.attempt_count > 0,
        "auto_advance": thing.auto_advance,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": thing.billing_reason,
        "collection_method": thing.collection_method,
        "created": thing.created,
        "currency": thing.currency,
        "custom_fields": None,
        "customer": thing.customer,
        "customer_address": None,
        "customer_email": None if known is None else known.email,
        "customer_name": None if known is None else known.name,
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "due_date": thing.due_date,
        "effective_at": thing.finalized_at,
        "ending_balance": None if thing.finalized_at is None else 0,
        "footer": None,
        "from_invoice": (
            None if thing.from_invoice is None else {"action": "revision", "invoice": thing.from_invoice}
        ),
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": thing.latest_revision,
        "lines": cut_listing(f"/v1/invoices/{thing.id}/lines", lines),
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "next_payment_attempt": thing.next_payment_attempt,
        "number": thing.number,
        "on_behalf_of": None,
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "period_end": thing.period_end,
        "period_start": thing.period_start,
        "post_payment_credit_notes_amount": thing.credited_after_payment,
        "pre_payment_credit_notes_amount": thing.credited_before_payment,
        "receipt_number": None,
        "starting_balance": -thing.balance_applied,
        "statement_descriptor": None,
        "status": thing.status,
        "status_transitions": {
            "finalized_at": thing.finalized_at,
            "marked_uncollectible_at": thing.marked_uncollectible_at,
            "paid_at": thing.paid_at,
            "voided_at": thing.voided_at,
        },
        "subtotal": thing.subtotal,
        "subtotal_excluding_tax": thing.subtotal,
        "test_clock": clock_of(thing.customer, view),
        "total": thing.total,
        "total_discount_amounts": [
            {"amount": amount, "discount": discount.id}
            for amount, discount in zip(thing.discount_amounts, thing.discounts, strict=True)
        ],
        "total_excluding_tax": thing.total,
        "webhooks_delivered_at": thing.created,
    }
    body.update(_discount_fields(thing, shape, view))
    if shape.basil:
        body["amount_overpaid"] = thing.overpaid
        body["confirmation_secret"] = None
        body["total_taxes"] = []
        body["parent"] = _invoice_parent(thing, view)
    else:
        by_card = [p for p in _payments_of(thing, view) if p.payment_type == "payment_intent"]
        intent = view.find(by_card[0].payment) if by_card else None
        body["subscription"] = thing.subscription
        body["subscription_details"] = {"metadata": _subscription_metadata(thing, view)}
        body["paid"] = thing.status == "paid"
        body["paid_out_of_band"] = paid_out_of_band
        body["payment_intent"] = None if intent is None else intent.id
        body["charge"] = intent.latest_charge if isinstance(intent, PaymentIntent) else None
        body["quote"] = None
        body["tax"] = None
        body["total_tax_amounts"] = []
        body["transfer_data"] = None
        body["application_fee_amount"] = None
    if shape.endive:
        body["customer_account"] = None
        body["status_details"] = None
    return body


def _invoice_parent(invoice: Invoice, view: View) -> Body | None:
    if invoice.subscription is None:
        return None
    return {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {
            "metadata": _subscription_metadata(invoice, view),
            "subscription": invoice.subscription,
        },
    }


def _subscription_metadata(invoice: Invoice, view: View) -> Body | None:
    found = view.find(invoice.subscription or "")
    return dict(found.metadata) if isinstance(found, Subscription) else None


def _include_payments(body: Body, shape: Version, view: View) -> None:
    invoice = view.find(body["id"])
    if not shape.basil or not isinstance(invoice, Invoice):
        return
    rows = [_invoice_payment(payment, shape, view) for payment in _payments_of(invoice, view)]
    body["payments"] = cut_listing(f"/v1/invoice_payments?invoice={invoice.id}", rows)


def _include_off_stripe(body: Body, shape: Version, view: View) -> None:
    invoice = view.find(body["id"])
    if shape.off_stripe_amount and isinstance(invoice, Invoice):
        body["amount_paid_off_stripe"] = invoice.paid_off_stripe


def _include_refunds(body: Body, shape: Version, view: View) -> None:
    charge = view.find(body["id"])
    if isinstance(charge, Charge):
        body["refunds"] = _refunds_of(charge, shape, view)


def _include_tiers(body: Body, _shape: Version, view: View) -> None:
    price = view.find(body["id"])
    if isinstance(price, Price) and price.tiers:
        body["tiers"] = [
            {
                "flat_amount": tier.flat_amount or None,
                "flat_amount_decimal": str(tier.flat_amount) if tier.flat_amount else None,
                "unit_amount": tier.unit_amount,
                "unit_amount_decimal": str(tier.unit_amount),
                "up_to": tier.up_to,
            }
            for tier in price.tiers
        ]
    else:
        # A price without tiers may be asked for them all the same.
        body["tiers"] = None


def session_line(entry: SessionLine, session: CheckoutSession, shape: Version, view: View) -> Body:
    price = None if entry.price is None else view.find(entry.price)
    return {
        "id": entry.id,
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": entry.amount,
        "amount_tax": 0,
        "amount_total": entry.amount,
        "currency": session.currency,
        "description": entry.description,
        "price": _price(price, shape, view) if isinstance(price, Price) else None,
        "quantity": entry.quantity,
    }


def _include_session_lines(body: Body, shape: Version, view: View) -> None:
    session = view.find(body["id"])
    if isinstance(session, CheckoutSession):
        rows = [session_line(entry, session, shape, view) for entry in session.lines]
        body["line_items"] = cut_listing(f"/v1/checkout/sessions/{session.id}/line_items", rows)


def _include_currency_options(body: Body, _shape: Version, _view: View) -> None:
    # Prices here are for sale in their own currency alone.
    body["currency_options"] = {
        body["currency"]: {
            "unit_amount": body["unit_amount"],
            "unit_amount_decimal": body["unit_amount_decimal"],
        }
    }


def _include_tax_ids(body: Body, shape: Version, view: View) -> None:
    customer = view.find(body["id"])
    if isinstance(customer, Customer):
        found = (view.find(tax_id) for tax_id in reversed(customer.tax_ids))
        rows = [render(tax_id, shape, view) for tax_id in found if tax_id is not None]
        body["tax_ids"] = cut_listing(f"/v1/customers/{customer.id}/tax_ids", rows)


def _include_applies_to(body: Body, _shape: Version, view: View) -> None:
    found = view.find(body["id"])
    if not isinstance(found, Coupon):
        raise KeyError(f"{body['id']} is no coupon")
    body["applies_to"] = {"products": list(found.applies_to)} if found.applies_to else None


_ON_REQUEST: dict[tuple[str, str], Callable[[Body, Version, View], None]] = {
    ("invoice", "payments"): _include_payments,
    ("invoice", "amount_paid_off_stripe"): _include_off_stripe,
    ("charge", "refunds"): _include_refunds,
    ("customer", "tax_ids"): _include_tax_ids,
    ("price", "currency_options"): _include_currency_options,
    ("price", "tiers"): _include_tiers,
    ("plan", "tiers"): _include_tiers,
    ("checkout.session", "line_items"): _include_session_lines,
    ("coupon", "applies_to"): _include_applies_to,
}


def _invoice_payment(thing: InvoicePayment, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "invoice_payment",
        "amount_paid": thing.amount_paid,
        "amount_requested": thing.amount_requested,
        "created": thing.created,
        "currency": thing.currency,
        "invoice": thing.invoice,
        "is_default": thing.is_default,
        "livemode": view.live_mode,
        "payment": {"type": thing.payment_type, thing.payment_type: thing.payment},
        "status": thing.status,
        "status_transitions": {"canceled_at": thing.canceled_at, "paid_at": thing.paid_at},
    }


def _payment_intent(thing: PaymentIntent, shape: Version, view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "payment_intent",
        "amount": thing.amount,
        "amount_capturable": thing.amount if thing.status == "requires_capture" else 0,
        "amount_received": thing.amount_received,
        "application": None,
        "canceled_at": thing.canceled_at,
        "capture_method": thing.capture_method,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "description": None,
        "last_payment_error": None,
        "livemode": view.live_mode,
        "metadata": {},
        "next_action": None,
        "payment_method": thing.payment_method,
        "payment_method_types": ["card"],
        "status": thing.status,
        "transfer_data": None,
    }
    if shape.charge_lists_refunds:
        charge = view.find(thing.latest_charge or "")
        rows = [_charge(charge, shape, view)] if isinstance(charge, Charge) else []
        body["charges"] = cut_listing(f"/v1/charges?payment_intent={thing.id}", rows)
    else:
        body["latest_charge"] = thing.latest_charge
    if not shape.basil:
        body["invoice"] = thing.invoice
    if shape.endive:
        body["payment_record"] = thing.payment_record
        body["customer_account"] = None
    return body


def _refunds_of(charge: Charge, shape: Version, view: View) -> Body:
    found = (view.find(refund_id) for refund_id in reversed(charge.refunds))
    rows = [_refund(refund, shape, view) for refund in found if isinstance(refund, Refund)]
    return cut_listing(f"/v1/charges/{charge.id}/refunds", rows)


def _charge(thing: Charge, shape: Version, view: View) -> Body:
    failed = thing.status == "failed"
    body: Body = {
        "id": thing.id,
        "object": "charge",
        "amount": thing.amount,
        "amount_captured": thing.amount_captured,
        "amount_refunded": thing.amount_refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": thing.balance_transaction,
        "billing_details": {"address": _NOWHERE, "email": None, "name": None, "phone": None},
        "calculated_statement_descriptor": "SANDBOX",
        "captured": thing.captured,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "description": thing.description,
        "disputed": thing.disputed,
        "failure_balance_transaction": None,
        "failure_code": "card_declined" if failed else None,
        "failure_message": "Your card was declined." if failed else None,
        "fraud_details": {},
        "livemode": view.live_mode,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": {
            "network_status": "declined_by_network" if failed else "approved_by_network",
            "reason": "generic_decline" if failed else None,
            "risk_level": "normal",
            "type": "issuer_declined" if failed else "authorized",
        },
        "paid": thing.status != "failed",
        "payment_intent": thing.payment_intent,
        "payment_method": thing.payment_method,
        "payment_method_details": {"type": thing.method, thing.method: {}},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": thing.refunded,
        "review": thing.review,
        "shipping": None,
        "source": None,
        "source_transfer": thing.source_transfer,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": thing.status,
        "transfer_data": (
            None
            if thing.transfer_destination is None
            else {"amount": thing.transfer_amount, "destination": thing.transfer_destination}
        ),
        "transfer_group": None,
    }
    if shape.charge_lists_refunds:
        body["refunds"] = _refunds_of(thing, shape, view)
    if not shape.basil:
        body["invoice"] = thing.invoice
    return body


def _refund(thing: Refund, shape: Version, _view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "refund",
        "amount": thing.amount,
        "balance_transaction": thing.balance_transaction,
        "charge": thing.charge,
        "created": thing.created,
        "currency": thing.currency,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": thing.payment_intent,
        "reason": thing.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": thing.status,
        "transfer_reversal": None,
    }
    if thing.failure_balance_transaction is not None:
        body["failure_balance_transaction"] = thing.failure_balance_transaction
        body["failure_reason"] = "unknown"
    if shape.refund_customer:
        body["customer"] = thing.customer
        body["customer_account"] = None
        body["payment_method"] = None
    return body


def _dispute(thing: Dispute, shape: Version, view: View) -> Body:
    transactions = [balance_transaction(entry, shape, view) for entry in thing.balance_transactions]
    return {
        "id": thing.id,
        "object": "dispute",
        "amount": thing.amount,
        "balance_transactions": transactions,
        "charge": thing.charge,
        "created": thing.created,
        "currency": thing.currency,
        "evidence": {},
        "evidence_details": {
            "due_by": thing.created + 7 * 86_400,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": thing.is_charge_refundable,
        "livemode": view.live_mode,
        "metadata": {},
        "payment_intent": thing.payment_intent,
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "case_type": "chargeback"}},
        "reason": thing.reason,
        "status": thing.status,
    }


def _checkout_session(thing: CheckoutSession, _shape: Version, view: View) -> Body:
    customer = view.find(thing.customer or "")
    known = customer if isinstance(customer, Customer) else None
    return {
        "id": thing.id,
        "object": "checkout.session",
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": thing.amount_total,
        "amount_total": thing.amount_total,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": thing.client_reference_id,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "customer_creation": "always",
        "customer_details": (
            None
            if thing.status != "complete"
            else {
                "email": None if known is None else known.email,
                "name": None if known is None else known.name,
                "phone": None,
                "tax_exempt": "none",
                "tax_ids": [],
            }
        ),
        "customer_email": None,
        "expires_at": thing.expires_at,
        "invoice": thing.invoice,
        "livemode": view.live_mode,
        "locale": None,
        "metadata": dict(thing.metadata),
        "mode": thing.mode,
        "payment_intent": thing.payment_intent,
        "payment_link": None,
        "payment_method_types": ["card"],
        "payment_status": thing.payment_status,
        "setup_intent": None,
        "status": thing.status,
        "subscription": thing.subscription,
        "success_url": "https://example.com/success",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "url": None,
    }


_SHAPES: dict[str, Callable[..., Body]] = {
    "customer": _customer,
    "product": _product,
    "price": _price,
    "subscription": _subscription,
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "payment_intent": _payment_intent,
    "charge": _charge,
    "refund": _refund,
    "dispute": _dispute,
    "checkout.session": _checkout_session,
    **SIDE_SHAPES,
}
