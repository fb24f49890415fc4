"""How payments are shown: intents, charges, refunds, disputes, suspected fraud, and the account's balance."""

from sandbox.objects import (
    BalanceTransaction,
    Charge,
    Dispute,
    EarlyFraudWarning,
    PaymentIntent,
    Payout,
    Refund,
    Review,
)
from sandbox.shapes.customers import NOWHERE
from sandbox.versions import Body, Version, View, cut_listing


def show_payment_intent(thing: PaymentIntent, shape: Version, view: View) -> Body:
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
        rows = [show_charge(charge, shape, view)] if isinstance(charge, Charge) else []
        body["charges"] = cut_listing(f"/v1/charges?payment_intent={thing.id}", rows)
    else:
        body["latest_charge"] = thing.latest_charge
    if not shape.basil:
        body["invoice"] = thing.invoice
    if shape.endive:
        body["payment_record"] = thing.payment_record
        body["customer_account"] = None
    return body


def show_charge(thing: Charge, shape: Version, view: View) -> Body:
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
        "billing_details": {"address": NOWHERE, "email": None, "name": None, "phone": None},
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
        "payment_method_details": {"type": thing.method, thing.method: _method_details(thing)},
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


def _method_details(thing: Charge) -> Body:
    if thing.method != "card":
        return {}
    return {"multicapture": {"status": "available" if thing.multicapture else "unavailable"}}


def _refunds_of(charge: Charge, shape: Version, view: View) -> Body:
    found = (view.find(refund_id) for refund_id in reversed(charge.refunds))
    rows = [show_refund(refund, shape, view) for refund in found if isinstance(refund, Refund)]
    return cut_listing(f"/v1/charges/{charge.id}/refunds", rows)


def include_refunds(body: Body, shape: Version, view: View) -> None:
    charge = view.find(body["id"])
    if isinstance(charge, Charge):
        body["refunds"] = _refunds_of(charge, shape, view)


def show_refund(thing: Refund, shape: Version, _view: View) -> Body:
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


def show_dispute(thing: Dispute, shape: Version, view: View) -> Body:
    transactions = [show_balance_transaction(entry, shape, view) for entry in thing.balance_transactions]
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


def show_review(thing: Review, _shape: Version, view: View) -> Body:
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


def show_early_fraud_warning(thing: EarlyFraudWarning, _shape: Version, view: View) -> Body:
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


def show_balance_transaction(thing: BalanceTransaction, _shape: Version, _view: View) -> Body:
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


def show_payout(thing: Payout, _shape: Version, view: View) -> Body:
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
