"""Charges with their refunds and disputes, and the objects around them: intents, payment methods, reviews, warnings."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from billing.kinds.fields import (
    Refused,
    customer_of,
    entries_of,
    flag_of,
    id_of,
    integer_of,
    link,
    metadata_of,
    moment_of,
    note,
    object_of,
    owner_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json
from billing.kinds.kind import Kind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge(Facts):
    created: datetime | None
    customer_id: str | None
    payment_intent_id: str | None
    invoice_id: str | None  # before basil only
    status: str | None  # succeeded, pending, failed
    captured: bool
    amount: int | None
    amount_captured: int | None
    amount_refunded: int | None
    currency: str | None
    disputed: bool | None
    description: str | None
    metadata: dict[str, str]
    multicapture: bool | None = None  # True: may be captured several times, so its released rest is no refund


def _charge(object_id: str, body: Json, found: Found) -> Charge:
    captured = flag_of(body, "captured", needed=True)
    if captured is None:
        raise Refused("captured", None, "true or false, since money depends on it")
    note(found, "dispute", body.get("dispute"))
    for refund in entries_of(body, "refunds")[0]:
        note(found, "refund", refund)
    return Charge(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        payment_intent_id=id_of(body, "payment_intent", needed=True),
        invoice_id=link(body, "invoice", "invoice", found),
        status=text_of(body, "status", needed=True),
        captured=captured,
        amount=integer_of(body, "amount", needed=True),
        amount_captured=integer_of(body, "amount_captured", needed=True),
        amount_refunded=integer_of(body, "amount_refunded", needed=True),
        currency=text_of(body, "currency", needed=True),
        disputed=flag_of(body, "disputed"),
        description=text_of(body, "description"),
        metadata=metadata_of(body),
        multicapture=_multicapture(body),
    )


def _multicapture(body: Json) -> bool | None:
    """Whether the card lets it be captured several times; None if it does not, or Stripe does not say."""
    inner: object = body
    for field in ("payment_method_details", "card", "multicapture", "status"):
        inner = inner.get(field) if isinstance(inner, dict) else None
    return True if inner == "available" else None


CHARGE = Kind(
    name="charge",
    stripe_object="charge",
    table="stripe.charges",
    facts=Charge,
    list_path="/v1/charges",
    retrieve_path="/v1/charges/{id}",
    confirmed_along="created",
    expands=("refunds",),
    names_customer=True,
    personal=("description",),
    parse=_charge,
    concerns=(("refunds", "refund"), ("dispute", "dispute")),
    references=(
        ("customer_id", "customer"),
        ("payment_intent_id", "payment_intent"),
        ("invoice_id", "invoice"),
    ),
    whole_lists=(WholeList(field="refunds", url="/v1/refunds?charge={id}"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Facts):
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    status: str | None  # pending, requires_action, succeeded, failed, canceled
    amount: int | None
    currency: str | None
    reason: str | None


def _refund(object_id: str, body: Json, found: Found) -> Refund:
    note(found, "customer", body.get("customer"))  # since 2026-07-29; records use the charge's customer
    return Refund(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        charge_id=link(body, "charge", "charge", found),
        payment_intent_id=id_of(body, "payment_intent"),
        status=text_of(body, "status", needed=True),
        amount=integer_of(body, "amount", needed=True),
        currency=text_of(body, "currency", needed=True),
        reason=text_of(body, "reason"),
    )


REFUND = Kind(
    name="refund",
    stripe_object="refund",
    table="stripe.refunds",
    facts=Refund,
    list_path="/v1/refunds",
    retrieve_path="/v1/refunds/{id}",
    confirmed_inside=("charge_id", "charge"),
    belongs_to=(("charge_id", "charge"),),
    parse=_refund,
    concerns=(("charge", "charge"),),
    references=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
    read_through="charge",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute(Facts):
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    status: str | None
    amount: int | None
    currency: str | None
    reason: str | None
    movements: int | None  # the number of balance transactions that are no fees; None when the list is absent
    moved_amount: int | None  # their sum; negative: money withdrawn
    moved_currency: str | None  # None when there are none, or when they have several currencies
    # The most that was out at one time, positive, in moved_currency; None if nothing came back of it, or all.
    withdrawn_amount: int | None = None


def _dispute(object_id: str, body: Json, found: Found) -> Dispute:
    moved = _moved(body)
    return Dispute(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        charge_id=link(body, "charge", "charge", found),
        payment_intent_id=id_of(body, "payment_intent"),
        status=text_of(body, "status", needed=True),
        amount=integer_of(body, "amount", needed=True),
        currency=text_of(body, "currency", needed=True),
        reason=text_of(body, "reason"),
        movements=moved.movements,
        moved_amount=moved.amount,
        moved_currency=moved.currency,
        withdrawn_amount=moved.withdrawn,
    )


class _Moved(NamedTuple):
    """What a dispute has moved, as in `Dispute`."""

    movements: int | None = None
    amount: int | None = None
    currency: str | None = None
    withdrawn: int | None = None


# Stripe's reporting categories, and the types of before there were categories, of what the dispute costs the company.
_COSTS = frozenset(
    {"fee", "tax", "network_cost", "stripe_fee", "stripe_fx_fee", "tax_fee", "application_fee"}
)


def _moved(body: Json) -> _Moved:
    """The disputed money that moved, its fees left out; nothing if Stripe names movements without amounts."""
    entries: object = body.get("balance_transactions")
    path = "balance_transactions"
    if entries is None:  # long ago there was only one, or its id
        path = "balance_transaction"
        legacy = body.get(path)
        entries = None if legacy is None else [legacy]
    if entries is None:
        return _Moved()
    if not isinstance(entries, list):
        raise Refused(path, entries, "a list")
    moves: list[tuple[int, int]] = []  # when, and how much
    currencies: set[str | None] = set()
    for position, entry in enumerate(entries):
        if isinstance(entry, str):
            return _Moved()
        where = f"{path}[{position}]"
        if not isinstance(entry, dict):
            raise Refused(where, entry, "an object")
        amount = integer_of(entry, "amount", where + ".", needed=True)
        if amount is None:
            raise Refused(where + ".amount", None, "a whole number")
        category = text_of(entry, "reporting_category", where + ".") or text_of(entry, "type", where + ".")
        if category in _COSTS:
            continue
        moves.append((integer_of(entry, "created", where + ".") or 0, amount))
        currencies.add(text_of(entry, "currency", where + ".", needed=True))
    if len(currencies) > 1:
        return _Moved(movements=len(moves))  # a sum over currencies would mean nothing
    out = most_out = 0
    for _, amount in sorted(moves, key=lambda move: move[0]):
        out -= amount
        most_out = max(most_out, out)
    return _Moved(
        movements=len(moves),
        amount=integer_of(
            {"amount": -out}, "amount", path + "[].", needed=True
        ),  # the sums must fit a bigint too
        currency=currencies.pop() if currencies else None,
        withdrawn=integer_of({"amount": most_out}, "amount", path + "[].", needed=True)
        if 0 < out < most_out
        else None,
    )


DISPUTE = Kind(
    name="dispute",
    stripe_object="dispute",
    table="stripe.disputes",
    facts=Dispute,
    list_path="/v1/disputes",
    retrieve_path="/v1/disputes/{id}",
    belongs_to=(("charge_id", "charge"),),
    parse=_dispute,
    concerns=(("charge", "charge"),),
    references=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntent(Facts):
    created: datetime | None
    customer_id: str | None
    status: str | None  # requires_payment_method, processing, succeeded, canceled ...
    amount: int | None
    amount_capturable: int | None
    amount_received: int | None
    currency: str | None
    payment_method_id: str | None
    latest_charge_id: str | None
    invoice_id: str | None  # before basil only
    capture_method: str | None
    setup_future_usage: str | None
    cancellation_reason: str | None
    canceled_at: datetime | None
    description: str | None
    receipt_email: str | None
    error_code: str | None  # of its last attempt, if that failed
    metadata: dict[str, str]


def _payment_intent(object_id: str, body: Json, found: Found) -> PaymentIntent:
    charge_id = id_of(body, "latest_charge")
    charges = entries_of(body, "charges")[0]
    for charge in (body.get("latest_charge"), *charges):
        # Only a whole one: one that is merely named, or an excerpt of it, is no reason to fetch it.
        if isinstance(charge, dict) and charge.get("object") == CHARGE.stripe_object and "amount" in charge:
            note(found, "charge", charge)
    if charge_id is None:  # before 2022-11-15 all charges were in it, the latest first
        charge_id = id_of(charges[0], "id", "charges.data[0].") if charges else None
    return PaymentIntent(
        id=object_id,
        created=moment_of(body, "created"),
        customer_id=owner_of(body),
        status=text_of(body, "status"),
        amount=integer_of(body, "amount"),
        amount_capturable=integer_of(body, "amount_capturable"),
        amount_received=integer_of(body, "amount_received"),
        currency=text_of(body, "currency"),
        payment_method_id=id_of(body, "payment_method"),
        latest_charge_id=charge_id,
        invoice_id=id_of(body, "invoice"),
        capture_method=text_of(body, "capture_method"),
        setup_future_usage=text_of(body, "setup_future_usage"),
        cancellation_reason=text_of(body, "cancellation_reason"),
        canceled_at=moment_of(body, "canceled_at"),
        description=text_of(body, "description"),
        receipt_email=text_of(body, "receipt_email"),
        error_code=text_of(object_of(body, "last_payment_error"), "code", "last_payment_error."),
        metadata=metadata_of(body),
    )


PAYMENT_INTENT = Kind(
    name="payment_intent",
    stripe_object="payment_intent",
    table="stripe.payment_intents",
    facts=PaymentIntent,
    list_path="/v1/payment_intents",
    retrieve_path="/v1/payment_intents/{id}",
    names_customer=True,
    absorbing=frozenset({"succeeded", "canceled"}),
    personal=("description", "receipt_email"),
    confirmed_by="lists",
    parse=_payment_intent,
    # latest_charge since 2022-11-15, the list of charges before.
    concerns=(("latest_charge", "charge"), ("charges", "charge")),
    references=(
        ("customer_id", "customer"),
        ("payment_method_id", "payment_method"),
        ("latest_charge_id", "charge"),
        ("invoice_id", "invoice"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod(Facts):
    created: datetime | None
    customer_id: str | None  # None: not attached, or no longer attached
    type: str | None  # card, sepa_debit, us_bank_account ...
    card_brand: str | None
    card_last4: str | None
    card_exp_month: int | None
    card_exp_year: int | None
    card_funding: str | None  # credit, debit, prepaid, unknown
    card_country: str | None
    billing_name: str | None
    billing_email: str | None
    metadata: dict[str, str]


def _payment_method(object_id: str, body: Json, _: Found) -> PaymentMethod:
    card = object_of(body, "card")
    billing = object_of(body, "billing_details")
    return PaymentMethod(
        id=object_id,
        created=moment_of(body, "created"),
        customer_id=owner_of(body),
        type=text_of(body, "type"),
        card_brand=text_of(card, "brand", "card."),
        card_last4=text_of(card, "last4", "card."),
        card_exp_month=integer_of(card, "exp_month", "card."),
        card_exp_year=integer_of(card, "exp_year", "card."),
        card_funding=text_of(card, "funding", "card."),
        card_country=text_of(card, "country", "card."),
        billing_name=text_of(billing, "name", "billing_details."),
        billing_email=text_of(billing, "email", "billing_details."),
        metadata=metadata_of(body),
    )


PAYMENT_METHOD = Kind(
    name="payment_method",
    stripe_object="payment_method",
    table="stripe.payment_methods",
    facts=PaymentMethod,
    list_path="/v1/payment_methods",
    retrieve_path="/v1/payment_methods/{id}",
    names_customer=True,
    personal=("card_last4", "billing_name", "billing_email"),
    confirmed_by="lists",
    list_by_created=False,
    list_holds_all=False,  # one that is detached from its customer is in no list
    parse=_payment_method,
    references=(("customer_id", "customer"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupIntent(Facts):
    created: datetime | None
    customer_id: str | None
    status: str | None
    usage: str | None  # off_session, on_session
    payment_method_id: str | None
    cancellation_reason: str | None
    description: str | None
    error_code: str | None  # of its last attempt, if that failed
    metadata: dict[str, str]


def _setup_intent(object_id: str, body: Json, _: Found) -> SetupIntent:
    return SetupIntent(
        id=object_id,
        created=moment_of(body, "created"),
        customer_id=owner_of(body),
        status=text_of(body, "status"),
        usage=text_of(body, "usage"),
        payment_method_id=id_of(body, "payment_method"),
        cancellation_reason=text_of(body, "cancellation_reason"),
        description=text_of(body, "description"),
        error_code=text_of(object_of(body, "last_setup_error"), "code", "last_setup_error."),
        metadata=metadata_of(body),
    )


SETUP_INTENT = Kind(
    name="setup_intent",
    stripe_object="setup_intent",
    table="stripe.setup_intents",
    facts=SetupIntent,
    list_path="/v1/setup_intents",
    retrieve_path="/v1/setup_intents/{id}",
    names_customer=True,
    absorbing=frozenset({"succeeded", "canceled"}),
    personal=("description",),
    confirmed_by="lists",
    parse=_setup_intent,
    references=(("customer_id", "customer"), ("payment_method_id", "payment_method")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(Facts):
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    open: bool | None
    opened_reason: str | None
    closed_reason: str | None
    reason: str | None


def _review(object_id: str, body: Json, _: Found) -> Review:
    return Review(
        id=object_id,
        created=moment_of(body, "created"),
        charge_id=id_of(body, "charge"),
        payment_intent_id=id_of(body, "payment_intent"),
        open=flag_of(body, "open"),
        opened_reason=text_of(body, "opened_reason"),
        closed_reason=text_of(body, "closed_reason"),
        reason=text_of(body, "reason"),
    )


REVIEW = Kind(
    name="review",
    stripe_object="review",
    table="stripe.reviews",
    facts=Review,
    list_path="/v1/reviews",
    retrieve_path="/v1/reviews/{id}",
    list_holds_all=False,  # a closed review is in no list
    belongs_to=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
    confirmed_by="lists",
    parse=_review,
    references=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyFraudWarning(Facts):
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    actionable: bool | None
    fraud_type: str | None


def _early_fraud_warning(object_id: str, body: Json, _: Found) -> EarlyFraudWarning:
    return EarlyFraudWarning(
        id=object_id,
        created=moment_of(body, "created"),
        charge_id=id_of(body, "charge"),
        payment_intent_id=id_of(body, "payment_intent"),
        actionable=flag_of(body, "actionable"),
        fraud_type=text_of(body, "fraud_type"),
    )


EARLY_FRAUD_WARNING = Kind(
    name="early_fraud_warning",
    stripe_object="radar.early_fraud_warning",
    table="stripe.early_fraud_warnings",
    facts=EarlyFraudWarning,
    list_path="/v1/radar/early_fraud_warnings",
    retrieve_path="/v1/radar/early_fraud_warnings/{id}",
    belongs_to=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
    confirmed_by="lists",
    parse=_early_fraud_warning,
    references=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
)
