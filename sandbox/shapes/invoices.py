"""How invoices are shown, with their lines, payments and credit notes."""

from sandbox.objects import (
    CreditNote,
    Customer,
    Invoice,
    InvoicePayment,
    Line,
    PaymentIntent,
    Price,
    Subscription,
)
from sandbox.shapes.catalogue import show_plan, show_price
from sandbox.shapes.customers import clock_of
from sandbox.shapes.discounts import discount_fields
from sandbox.versions import Body, Version, View, cut_listing


def show_line(entry: Line, invoice: Invoice, shape: Version, view: View) -> Body:
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
    body["price"] = show_price(price, shape, view) if isinstance(price, Price) else None
    body["plan"] = (
        show_plan(price, shape, view) if isinstance(price, Price) and price.interval is not None else None
    )
    body["tax_rates"] = []
    return body


def show_invoice(thing: Invoice, shape: Version, view: View) -> Body:
    customer = view.find(thing.customer or "")
    known = customer if isinstance(customer, Customer) else None
    paid_out_of_band = thing.paid_off_stripe > 0 and thing.paid_by_stripe == 0
    paid = thing.paid_by_stripe + (thing.paid_off_stripe if shape.basil else 0)
    lines = [show_line(entry, thing, shape, view) for entry in thing.lines]
    subtotal, discounted, total, due = thing.subtotal, thing.discount_amounts, thing.total, thing.amount_due
    body: Body = {
        "id": thing.id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Sandbox",
        "account_tax_ids": None,
        "amount_due": due,
        "amount_paid": paid,
        "amount_remaining": max(due - paid, 0),
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
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "test_clock": clock_of(thing.customer, view),
        "total": total,
        "total_discount_amounts": [
            {"amount": amount, "discount": discount.id}
            for amount, discount in zip(discounted, thing.discounts, strict=True)
        ],
        "total_excluding_tax": total,
        "webhooks_delivered_at": thing.created,
    }
    body.update(discount_fields(thing, shape, view))
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


def _payments_of(invoice: Invoice, view: View) -> list[InvoicePayment]:
    found = (view.find(payment_id) for payment_id in invoice.payments)
    return [payment for payment in found if isinstance(payment, InvoicePayment)]


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


def include_payments(body: Body, shape: Version, view: View) -> None:
    invoice = view.find(body["id"])
    if not shape.basil or not isinstance(invoice, Invoice):
        return
    rows = [show_invoice_payment(payment, shape, view) for payment in _payments_of(invoice, view)]
    body["payments"] = cut_listing(f"/v1/invoice_payments?invoice={invoice.id}", rows)


def include_off_stripe(body: Body, shape: Version, view: View) -> None:
    invoice = view.find(body["id"])
    if shape.off_stripe_amount and isinstance(invoice, Invoice):
        body["amount_paid_off_stripe"] = invoice.paid_off_stripe


def show_invoice_payment(thing: InvoicePayment, _shape: Version, view: View) -> Body:
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


def show_credit_note(thing: CreditNote, shape: Version, view: View) -> Body:
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
