"""The company's balance at Stripe: payouts and all other movements. No record depends on them."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.fields import flag_of, id_of, integer_of, metadata_of, moment_of, text_of
from billing.kinds.found import Facts, Found, Json
from billing.kinds.kind import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout(Facts):
    created: datetime | None
    status: str | None  # pending, in_transit, paid, failed, canceled
    amount: int | None  # negative: Stripe took it from the bank account
    currency: str | None
    arrival_date: datetime | None
    automatic: bool | None
    method: str | None  # standard, instant
    type: str | None  # bank_account, card
    destination_id: str | None
    balance_transaction_id: str | None
    reconciliation_status: str | None
    failure_code: str | None
    description: str | None
    metadata: dict[str, str]


def _payout(object_id: str, body: Json, _: Found) -> Payout:
    return Payout(
        id=object_id,
        created=moment_of(body, "created"),
        status=text_of(body, "status"),
        amount=integer_of(body, "amount"),
        currency=text_of(body, "currency"),
        arrival_date=moment_of(body, "arrival_date"),
        automatic=flag_of(body, "automatic"),
        method=text_of(body, "method"),
        type=text_of(body, "type"),
        destination_id=id_of(body, "destination"),
        balance_transaction_id=id_of(body, "balance_transaction"),
        reconciliation_status=text_of(body, "reconciliation_status"),
        failure_code=text_of(body, "failure_code"),
        description=text_of(body, "description"),
        metadata=metadata_of(body),
    )


PAYOUT = Kind(
    name="payout",
    stripe_object="payout",
    table="stripe.payouts",
    facts=Payout,
    list_path="/v1/payouts",
    retrieve_path="/v1/payouts/{id}",
    absorbing=frozenset({"failed", "canceled"}),
    confirmed_by="lists",
    parse=_payout,
    references=(("balance_transaction_id", "balance_transaction"),),
    other_ids=("destination_id",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTransaction(Facts):
    created: datetime | None
    type: str | None
    reporting_category: str | None
    status: str | None  # pending, available
    amount: int | None
    fee: int | None
    net: int | None
    currency: str | None
    available_on: datetime | None
    source_id: str | None  # the charge, refund, payout ... that moved the money
    description: str | None


def _balance_transaction(object_id: str, body: Json, _: Found) -> BalanceTransaction:
    return BalanceTransaction(
        id=object_id,
        created=moment_of(body, "created"),
        type=text_of(body, "type"),
        reporting_category=text_of(body, "reporting_category"),
        status=text_of(body, "status"),
        amount=integer_of(body, "amount"),
        fee=integer_of(body, "fee"),
        net=integer_of(body, "net"),
        currency=text_of(body, "currency"),
        available_on=moment_of(body, "available_on"),
        source_id=id_of(body, "source"),
        description=text_of(body, "description"),
    )


BALANCE_TRANSACTION = Kind(
    name="balance_transaction",
    stripe_object="balance_transaction",
    table="stripe.balance_transactions",
    facts=BalanceTransaction,
    list_path="/v1/balance_transactions",
    retrieve_path="/v1/balance_transactions/{id}",
    belongs_to=(("source_id", "charge"), ("source_id", "refund"), ("source_id", "dispute")),
    personal=("description",),
    confirmed_by="lists",
    parse=_balance_transaction,
    references=(
        ("source_id", "charge"),
        ("source_id", "refund"),
        ("source_id", "dispute"),
        ("source_id", "payout"),
    ),
)
