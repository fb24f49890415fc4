"""Invoices, their payments, and the credit notes that reduce them."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.fields import (
    customer_of,
    entries_of,
    flag_of,
    id_of,
    integer_of,
    latest,
    link,
    metadata_of,
    moment_of,
    note,
    object_of,
    objects_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json, is_id_of
from billing.kinds.kind import Kind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice(Facts):
    created: datetime | None
    customer_id: str | None
    subscription_id: str | None
    status: str | None  # draft, open, paid, void, uncollectible
    billing_reason: str | None
    period_start: datetime | None
    period_end: datetime | None  # the cycle boundary
    lines_period_end: datetime | None  # the latest end among the lines in the body
    trial_lines_end: (
        datetime | None
    )  # the latest end among those that bill nothing for a price that costs something
    currency: str | None
    subtotal: int | None  # before the discounts of the whole invoice
    total: int | None
    amount_due: int | None
    amount_paid: int | None  # includes out-of-band money since basil
    amount_remaining: int | None
    paid_out_of_band: bool | None  # before basil only
    amount_paid_off_stripe: int | None  # expand-only, since 2026-05-27
    amount_paid_by_payments: int | None  # sum of paid card and PaymentIntent payments; None when not expanded
    collection_method: str | None
    attempt_count: int | None
    next_payment_attempt: datetime | None
    due_date: datetime | None
    paid_at: datetime | None
    number: str | None
    metadata: dict[str, str]


def _invoice(object_id: str, body: Json, found: Found) -> Invoice:
    subscription_id = link(body, "subscription", "subscription", found)
    if subscription_id is None:  # since basil
        details = object_of(object_of(body, "parent", needed=True), "subscription_details", "parent.")
        subscription_id = link(details, "subscription", "subscription", found, "parent.subscription_details.")
    if subscription_id is None:
        subscription_id = _subscription_of_lines(body, found)
    note(found, "charge", body.get("charge"))  # before basil
    transitions = object_of(body, "status_transitions", needed=True)
    return Invoice(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        subscription_id=subscription_id,
        status=text_of(body, "status", needed=True),
        billing_reason=text_of(body, "billing_reason", needed=True),
        period_start=moment_of(body, "period_start"),
        period_end=moment_of(body, "period_end", needed=True),
        lines_period_end=_lines_period_end(body, found),
        trial_lines_end=_trial_lines_end(body),
        currency=text_of(body, "currency", needed=True),
        subtotal=integer_of(body, "subtotal", needed=True),
        total=integer_of(body, "total", needed=True),
        amount_due=integer_of(body, "amount_due", needed=True),
        amount_paid=integer_of(body, "amount_paid", needed=True),
        amount_remaining=integer_of(body, "amount_remaining"),
        paid_out_of_band=flag_of(body, "paid_out_of_band", needed=True),
        amount_paid_off_stripe=integer_of(body, "amount_paid_off_stripe", needed=True),
        amount_paid_by_payments=_amount_paid_by_payments(body, found),
        collection_method=text_of(body, "collection_method"),
        attempt_count=integer_of(body, "attempt_count"),
        next_payment_attempt=moment_of(body, "next_payment_attempt"),
        due_date=moment_of(body, "due_date"),
        paid_at=moment_of(transitions, "paid_at", "status_transitions.", needed=True),
        number=text_of(body, "number"),
        metadata=metadata_of(body),
    )


def _only_lines_tell(body: Json) -> bool:
    """Whether all lines are needed: one of them may be the only one that names the subscription, or, where the invoice
    may end a first trial, the one with the longest period. Stripe puts what was added to the invoice first.
    """
    reason = body.get("billing_reason")
    if not isinstance(reason, str) or not reason.startswith("subscription"):
        return False
    parent = body.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    named = body.get("subscription") or (details.get("subscription") if isinstance(details, dict) else None)
    return named is None or reason in ("subscription_create", "subscription_update")


def _subscription_of_lines(body: Json, found: Found) -> str | None:
    """The subscription that an invoice names in its lines alone; None if they name several."""
    named = set()
    for line in entries_of(body, "lines")[0]:
        parent = line.get("parent")
        holder = parent.get("subscription_item_details") if isinstance(parent, dict) else None
        if line.get("type") == "subscription":  # before basil
            holder = line
        value = holder.get("subscription") if isinstance(holder, dict) else None
        subscription_id = value.get("id") if isinstance(value, dict) else value
        if is_id_of(subscription_id, "subscription"):
            named.add(subscription_id)
    if len(named) != 1:
        return None
    (only,) = named
    note(found, "subscription", only)
    return only


def _lines_period_end(body: Json, found: Found) -> datetime | None:
    ends: list[datetime | None] = []
    for position, line in enumerate(entries_of(body, "lines")[0]):
        path = f"lines.data[{position}]."
        ends.append(moment_of(object_of(line, "period", path), "end", path + "period."))
        price = line.get("price") or line.get("plan")  # before basil
        if price is None:
            pricing = line.get("pricing")
            details = pricing.get("price_details") if isinstance(pricing, dict) else None
            if isinstance(details, dict):
                price = details.get("price")
                note(found, "product", details.get("product"))
        note(found, "price", price)
    return latest(ends)


def _trial_lines_end(body: Json) -> datetime | None:
    ends: list[datetime | None] = []
    for position, line in enumerate(entries_of(body, "lines")[0]):
        price = line.get("pricing") or line.get("price") or line.get("plan")  # the last two before basil
        stated = price if isinstance(price, dict) else {}
        units = (stated.get(name) for name in ("unit_amount_decimal", "unit_amount", "amount"))
        costs = any(isinstance(unit, int | str) and str(unit).strip("+-0.") for unit in units)
        # Of a metered price nothing has been used yet.
        if line.get("amount") == 0 and line.get("quantity") and costs:
            path = f"lines.data[{position}]."
            ends.append(moment_of(object_of(line, "period", path), "end", path + "period."))
    return latest(ends)


def _amount_paid_by_payments(body: Json, found: Found) -> int | None:
    payments, cut = entries_of(body, "payments")
    paid = 0
    for position, entry in enumerate(payments):
        note(found, "invoice_payment", entry)
        path = f"payments.data[{position}]."
        payment = object_of(entry, "payment", path, needed=True)
        through_stripe = text_of(payment, "type", path + "payment.", needed=True) in (
            "payment_intent",
            "charge",
        )
        if through_stripe and text_of(entry, "status", path, needed=True) == "paid":
            paid += integer_of(entry, "amount_paid", path, needed=True) or 0
    if cut:
        return None
    return integer_of(
        {"amount_paid": paid}, "amount_paid", "payments.data[].", needed=True
    )  # the sum must fit a bigint too


INVOICE = Kind(
    name="invoice",
    stripe_object="invoice",
    table="stripe.invoices",
    facts=Invoice,
    list_path="/v1/invoices",
    retrieve_path="/v1/invoices/{id}",
    confirmed_along="created",
    expands=("payments", "amount_paid_off_stripe"),
    read_only_fields=("amount_paid_off_stripe",),
    names_customer=True,
    deleted_event="invoice.deleted",
    absorbing=frozenset({"void"}),
    parse=_invoice,
    concerns=(("payments", "invoice_payment"),),
    references=(("customer_id", "customer"), ("subscription_id", "subscription")),
    whole_lists=(
        WholeList(field="payments", url="/v1/invoice_payments?invoice={id}"),
        WholeList(field="lines", url="/v1/invoices/{id}/lines", needed=_only_lines_tell),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePayment(Facts):
    created: datetime | None
    invoice_id: str | None
    status: str | None  # open, paid, canceled
    amount_requested: int | None
    amount_paid: int | None
    currency: str | None
    payment_type: str | None  # payment_intent, charge, payment_record
    payment_intent_id: str | None
    charge_id: str | None
    payment_record_id: str | None


def _invoice_payment(object_id: str, body: Json, found: Found) -> InvoicePayment:
    payment = object_of(body, "payment", needed=True)
    return InvoicePayment(
        id=object_id,
        created=moment_of(body, "created"),
        invoice_id=link(body, "invoice", "invoice", found),
        status=text_of(body, "status"),
        amount_requested=integer_of(body, "amount_requested"),
        amount_paid=integer_of(body, "amount_paid"),
        currency=text_of(body, "currency"),
        payment_type=text_of(payment, "type", "payment.", needed=True),
        payment_intent_id=id_of(payment, "payment_intent", "payment.", needed=True),
        charge_id=link(payment, "charge", "charge", found, "payment."),
        payment_record_id=id_of(payment, "payment_record", "payment."),
    )


INVOICE_PAYMENT = Kind(
    name="invoice_payment",
    stripe_object="invoice_payment",
    table="stripe.invoice_payments",
    facts=InvoicePayment,
    list_path="/v1/invoice_payments",
    retrieve_path="/v1/invoice_payments/{id}",
    confirmed_inside=("invoice_id", "invoice"),
    belongs_to=(("invoice_id", "invoice"),),
    parse=_invoice_payment,
    concerns=(("invoice", "invoice"),),
    references=(("invoice_id", "invoice"), ("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
    other_ids=("payment_record_id",),
    read_through="invoice",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote(Facts):
    created: datetime | None
    customer_id: str | None
    invoice_id: str | None
    status: str | None  # issued, void
    type: str | None  # pre_payment, post_payment, mixed
    reason: str | None
    number: str | None
    currency: str | None
    amount: int | None
    pre_payment_amount: int | None
    post_payment_amount: int | None
    out_of_band_amount: int | None  # refunded outside Stripe, including refunds of payment records
    refund_ids: tuple[str, ...]
    effective_at: datetime | None
    voided_at: datetime | None
    memo: str | None
    metadata: dict[str, str]


def _credit_note(object_id: str, body: Json, found: Found) -> CreditNote:
    refund_id = link(body, "refund", "refund", found)  # before basil
    refund_ids = [] if refund_id is None else [refund_id]
    returned = 0
    for position, entry in enumerate(objects_of(body, "refunds", needed=True)):
        path = f"refunds[{position}]."
        refund_id = link(entry, "refund", "refund", found, path)
        if refund_id is None:
            returned += _refund_of_record(entry, path)
        elif refund_id not in refund_ids:
            refund_ids.append(refund_id)
    out_of_band = integer_of(body, "out_of_band_amount", needed=True)
    if returned:
        both = {"amount_refunded": returned + (out_of_band or 0)}
        out_of_band = integer_of(
            both, "amount_refunded", "refunds[].", needed=True
        )  # the sum must fit a bigint too
    return CreditNote(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        invoice_id=link(body, "invoice", "invoice", found),
        status=text_of(body, "status", needed=True),
        type=text_of(body, "type"),
        reason=text_of(body, "reason"),
        number=text_of(body, "number"),
        currency=text_of(body, "currency", needed=True),
        amount=integer_of(body, "amount"),
        pre_payment_amount=integer_of(body, "pre_payment_amount"),
        post_payment_amount=integer_of(body, "post_payment_amount"),
        out_of_band_amount=out_of_band,
        refund_ids=tuple(refund_ids),
        effective_at=moment_of(body, "effective_at"),
        voided_at=moment_of(body, "voided_at"),
        memo=text_of(body, "memo"),
        metadata=metadata_of(body),
    )


def _refund_of_record(entry: Json, path: str) -> int:
    """The amount that a credit note refunded of a payment made outside Stripe; 0 for refunds of other payments.

    Such a refund has no object and no event of its own, so this entry is all that Stripe ever says about it.
    """
    if entry.get("type") != "payment_record_refund" and entry.get("payment_record_refund") is None:
        return 0
    return integer_of(entry, "amount_refunded", path, needed=True) or 0


CREDIT_NOTE = Kind(
    name="credit_note",
    stripe_object="credit_note",
    table="stripe.credit_notes",
    facts=CreditNote,
    list_path="/v1/credit_notes",
    retrieve_path="/v1/credit_notes/{id}",
    confirmed_along="created",
    names_customer=True,
    absorbing=frozenset({"void"}),
    personal=("memo",),
    parse=_credit_note,
    # One refund before basil, then a list of {refund, amount_refunded}.
    concerns=(("invoice", "invoice"), ("refund", "refund"), ("refunds", "refund")),
    references=(("customer_id", "customer"), ("invoice_id", "invoice")),
)
