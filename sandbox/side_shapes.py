"""How a given API version shows the objects around the billing ones, each after Stripe's own example."""

from collections.abc import Callable

from sandbox.objects import (
    ActiveEntitlement,
    BalanceTransaction,
    Clock,
    Coupon,
    CreditNote,
    Customer,
    EarlyFraudWarning,
    Feature,
    Meter,
    PaymentMethod,
    Payout,
    Phase,
    Review,
    SetupIntent,
    SubscriptionSchedule,
    TaxId,
)
from sandbox.periods import DAY
from sandbox.versions import Body, Version, View, cut_listing


def coupon(thing: Coupon, _shape: Version, view: View) -> Body:
    percent = thing.percent_off
    name = f"{percent}% off" if percent is not None else f"{thing.amount_off} {thing.currency} off"
    return {
        "id": thing.id,
        "object": "coupon",
        "amount_off": thing.amount_off,
        "created": thing.created,
        "currency": thing.currency,
        "duration": thing.duration,
        "duration_in_months": thing.duration_in_months,
        "livemode": view.live_mode,
        "max_redemptions": None,
        "metadata": {},
        "name": name,
        "percent_off": None if percent is None else float(percent),
        "redeem_by": None,
        "times_redeemed": thing.times_redeemed,
        "valid": True,
    }


def _subscription_schedule(thing: SubscriptionSchedule, shape: Version, view: View) -> Body:
    running = thing.running_phase
    body: Body = {
        "id": thing.id,
        "object": "subscription_schedule",
        "application": None,
        "canceled_at": thing.canceled_at,
        "completed_at": thing.completed_at,
        "created": thing.created,
        "current_phase": None if running is None else {"start_date": running.start, "end_date": running.end},
        "customer": thing.customer,
        "default_settings": {
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
        },
        "end_behavior": thing.end_behavior,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "phases": [_phase(phase, thing) for phase in thing.phases],
        "released_at": thing.released_at,
        "released_subscription": thing.released_subscription,
        "status": thing.status,
        "subscription": thing.subscription,
        "test_clock": clock_of(thing.customer, view),
    }
    if shape.billing_mode:
        body["billing_mode"] = {"type": "classic"}
    if shape.endive:
        body["customer_account"] = None
    return body


def _phase(phase: Phase, schedule: SubscriptionSchedule) -> Body:
    return {
        "add_invoice_items": [],
        "billing_cycle_anchor": None,
        "collection_method": None,
        "currency": schedule.currency,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": phase.end,
        "items": [
            {
                "discounts": [],
                "metadata": {},
                "plan": price,
                "price": price,
                "quantity": quantity,
                "tax_rates": [],
            }
            for price, quantity in phase.plans
        ],
        "metadata": {},
        "proration_behavior": "create_prorations",
        "start_date": phase.start,
        "trial_end": None,
    }


def _credit_note(thing: CreditNote, shape: Version, view: View) -> Body:
    amount = thing.before_payment + thing.after_payment
    line: Body = {
        "id": "cnli_" + thing.id[3:],
        "object": "credit_note_line_item",
        "amount": amount,
        "description": "Credit",
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": view.live_mode,
        "quantity": 1,
        "tax_rates": [],
        "type": "custom_line_item",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }
    body: Body = {
        "id": thing.id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": thing.created,
        "invoice": thing.invoice,
        "lines": cut_listing(f"/v1/credit_notes/{thing.id}/lines", [line]),
        "livemode": view.live_mode,
        "memo": None,
        "metadata": dict(thing.metadata),
        "number": thing.number,
        "out_of_band_amount": thing.out_of_band or None,
        "pdf": None,
        "reason": None,
        "shipping_cost": None,
        "status": thing.status,
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "type": _credit_note_type(thing, shape),
        "voided_at": thing.voided_at,
    }
    if shape.basil:
        refund = {"amount_refunded": thing.refunded, "refund": thing.refund, "type": "refund"}
        of_record = {
            "amount_refunded": thing.record_refunded,
            "payment_record_refund": {"payment_record": thing.record, "refund_group": "rg_" + thing.id[3:]},
            "refund": None,
            "type": "payment_record_refund",
        }
        body["refunds"] = [] if thing.refund is None else [refund]
        body["refunds"] += [] if thing.record is None else [of_record]
        body["total_taxes"] = []
        body["pretax_credit_amounts"] = []
    else:
        body["refund"] = thing.refund
        body["tax_amounts"] = []
    if shape.mixed_credit_notes:
        body["pre_payment_amount"] = thing.before_payment
        body["post_payment_amount"] = thing.after_payment
    if shape.endive:
        body["customer_account"] = None
    return body


def _credit_note_type(thing: CreditNote, shape: Version) -> str:
    if thing.before_payment and thing.after_payment and shape.mixed_credit_notes:
        return "mixed"
    return "post_payment" if thing.after_payment else "pre_payment"


def _payment_method(thing: PaymentMethod, shape: Version, view: View) -> Body:
    owner = view.find(thing.customer or "")
    known = owner if isinstance(owner, Customer) else None
    details: Body = (
        {
            "brand": "visa",
            "country": "US",
            "exp_month": 8,
            "exp_year": 2035,
            "fingerprint": thing.id[3:],
            "funding": "credit",
            "last4": thing.last4,
            "wallet": None,
        }
        if thing.type == "card"
        else {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "SANDBOX BANK",
            "fingerprint": thing.id[3:],
            "last4": thing.last4,
        }
    )
    body: Body = {
        "id": thing.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": {
                "city": None,
                "country": None,
                "line1": None,
                "line2": None,
                "postal_code": None,
                "state": None,
            },
            "email": None if known is None else known.email,
            "name": None if known is None else known.name,
            "phone": None,
            "tax_id": None,
        },
        "created": thing.created,
        "customer": thing.customer,
        "livemode": view.live_mode,
        "metadata": {},
        "type": thing.type,
        thing.type: details,
    }
    if shape.endive:
        body["customer_account"] = None
    return body


def _setup_intent(thing: SetupIntent, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "created": thing.created,
        "customer": thing.customer,
        "description": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": view.live_mode,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": thing.payment_method,
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": thing.status,
        "usage": "off_session",
    }


def _tax_id(thing: TaxId, shape: Version, view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "tax_id",
        "country": thing.country,
        "created": thing.created,
        "customer": thing.customer,
        "livemode": view.live_mode,
        "type": thing.type,
        "value": thing.value,
        "verification": {"status": thing.verification, "verified_address": None, "verified_name": None},
    }
    if shape.tax_id_owner:
        body["owner"] = {"type": "customer", "customer": thing.customer}
    if shape.endive:
        body["customer_account"] = None
    return body


def _review(thing: Review, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "review",
        "billing_zip": None,
        "charge": thing.charge,
        "closed_reason": thing.closed_reason,
        "created": thing.created,
        "ip_address": None,
        "ip_address_location": None,
        "livemode": view.live_mode,
        "open": thing.open,
        "opened_reason": "rule",
        "payment_intent": thing.payment_intent,
        "reason": thing.reason,
        "session": None,
    }


def _early_fraud_warning(thing: EarlyFraudWarning, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "radar.early_fraud_warning",
        "actionable": thing.actionable,
        "charge": thing.charge,
        "created": thing.created,
        "fraud_type": thing.fraud_type,
        "livemode": view.live_mode,
        "payment_intent": thing.payment_intent,
    }


def _payout(thing: Payout, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "payout",
        "amount": thing.amount,
        "arrival_date": thing.arrival_date,
        "automatic": True,
        "balance_transaction": thing.balance_transaction,
        "created": thing.created,
        "currency": thing.currency,
        "description": "STRIPE PAYOUT",
        "destination": None,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": view.live_mode,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "reconciliation_status": "completed" if thing.status == "paid" else "in_progress",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": thing.status,
        "type": "bank_account",
    }


def balance_transaction(thing: BalanceTransaction, _shape: Version, _view: View) -> Body:
    return {
        "id": thing.id,
        "object": "balance_transaction",
        "amount": thing.amount,
        "available_on": thing.created,
        "created": thing.created,
        "currency": thing.currency,
        "description": None,
        "exchange_rate": None,
        "fee": thing.fee,
        "fee_details": [],
        "net": thing.net,
        "reporting_category": thing.category,
        "source": thing.source,
        "status": "available",
        "type": thing.type,
    }


def _feature(thing: Feature, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "entitlements.feature",
        "active": thing.active,
        "livemode": view.live_mode,
        "lookup_key": thing.lookup_key,
        "metadata": dict(thing.metadata),
        "name": thing.name,
    }


def _active_entitlement(thing: ActiveEntitlement, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "entitlements.active_entitlement",
        "feature": thing.feature,
        "livemode": view.live_mode,
        "lookup_key": thing.lookup_key,
    }


def entitlement_summary(
    customer_id: str, entitlements: list[ActiveEntitlement], shape: Version, view: View
) -> Body:
    """What a customer is entitled to, as its event shows it: without an id, and ten at most."""
    rows = [_active_entitlement(entry, shape, view) for entry in entitlements]
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer_id,
        "entitlements": cut_listing(f"/v1/customer/{customer_id}/entitlements", rows),
        "livemode": view.live_mode,
    }


def _meter(thing: Meter, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "billing.meter",
        "created": thing.created,
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": {"formula": "sum"},
        "display_name": thing.display_name,
        "event_name": thing.event_name,
        "event_time_window": None,
        "livemode": view.live_mode,
        "status": thing.status,
        "status_transitions": {"deactivated_at": thing.deactivated_at},
        "updated": thing.updated,
        "value_settings": {"event_payload_key": "value"},
    }


def meter_summary(meter: Meter, customer_id: str, window: tuple[int, int], value: int, view: View) -> Body:
    """What a customer has used of a meter in a stretch of time, its end excluded."""
    start, end = window
    return {
        "id": f"mtrusg_{meter.id[4:]}_{customer_id[4:]}_{start}_{end}",
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": end,
        "livemode": view.live_mode,
        "meter": meter.id,
        "start_time": start,
    }


def _clock(thing: Clock, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "test_helpers.test_clock",
        "created": thing.created,
        "deletes_after": thing.created + 30 * DAY,
        "frozen_time": thing.frozen_time,
        "livemode": view.live_mode,
        "name": thing.name,
        "status": "ready",
        "status_details": {},
    }


def clock_of(customer_id: str | None, view: View) -> str | None:
    """The test clock of a customer, which all that is billed to it names."""
    customer = None if customer_id is None else view.find(customer_id)
    return customer.test_clock if isinstance(customer, Customer) else None


SIDE_SHAPES: dict[str, Callable[..., Body]] = {
    "coupon": coupon,
    "subscription_schedule": _subscription_schedule,
    "credit_note": _credit_note,
    "payment_method": _payment_method,
    "setup_intent": _setup_intent,
    "tax_id": _tax_id,
    "review": _review,
    "radar.early_fraud_warning": _early_fraud_warning,
    "payout": _payout,
    "balance_transaction": balance_transaction,
    "entitlements.feature": _feature,
    "entitlements.active_entitlement": _active_entitlement,
    "billing.meter": _meter,
    "test_helpers.test_clock": _clock,
}
