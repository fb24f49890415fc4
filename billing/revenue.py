"""Revenue: the money that a customer paid, per currency, before fees, transfers and taxes are deducted.

It is summed from the objects each time and never incremented, so that nothing can be counted twice. Amounts are minor
units of their currency as Stripe gives them (JPY has no cents); currencies are never added up.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from billing.facts import CustomerFacts
from billing.kinds.invoices import CreditNote, Invoice
from billing.kinds.payments import Charge, Dispute, Refund


@dataclass(frozen=True, slots=True, kw_only=True)
class Revenue:
    """One row of billing.customer_revenue: what one customer paid in one currency, in its minor units."""

    stripe_customer_id: str
    account_id: str
    live_mode: bool
    customer_uid: UUID
    currency: str
    gross: int
    refunded: int
    disputed: int
    out_of_band: int
    net: int  # gross - refunded - disputed + out_of_band


@dataclass(slots=True)
class _Sums:
    gross: int = 0
    refunded: int = 0
    disputed: int = 0
    out_of_band: int = 0


def revenue_of(facts: CustomerFacts, *, customer_uid: UUID) -> tuple[Revenue, ...]:
    """The customer's revenue, one row for each currency in which money moved, in order of currency."""
    refunds = _by_charge(facts.refunds)
    disputes = _by_charge(facts.disputes)
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for charge in facts.charges:
        if charge.status == "succeeded" and charge.captured and charge.currency is not None:
            entry = sums[charge.currency]
            gross = captured_amount(charge)
            refunded = refunded_amount(charge, refunds.get(charge.id, ()))
            entry.gross += gross
            entry.refunded += refunded
            entry.disputed += disputed_amount(charge, disputes.get(charge.id, ()), left=gross - refunded)
    for invoice in facts.invoices:
        if invoice.currency is not None and (paid := out_of_band_amount(invoice)):
            sums[invoice.currency].out_of_band += paid
    for note in facts.credit_notes:
        if note.currency is not None and (returned := returned_out_of_band(note)):
            sums[note.currency].out_of_band -= returned
    return tuple(
        Revenue(
            stripe_customer_id=facts.customer_id,
            account_id=facts.account_id,
            live_mode=facts.live_mode,
            customer_uid=customer_uid,
            currency=currency,
            gross=of.gross,
            refunded=of.refunded,
            disputed=of.disputed,
            out_of_band=of.out_of_band,
            net=of.gross - of.refunded - of.disputed + of.out_of_band,
        )
        for currency, of in sorted(sums.items())
        if of.gross or of.refunded or of.disputed or of.out_of_band
    )


def main_revenue(rows: Sequence[Revenue]) -> Revenue | None:
    """The row that the record shows: the one with the largest gross + out_of_band; ties go by the alphabet."""
    return min(rows, key=lambda row: (-(row.gross + row.out_of_band), row.currency), default=None)


def captured_amount(charge: Charge) -> int:
    """The amount captured. If Stripe does not say how much, the whole amount of a captured charge was."""
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    return captured or 0


_REFUND_STANDS = frozenset({"pending", "requires_action", "succeeded"})
_REFUND_CAME_BACK = frozenset({"failed", "canceled"})


def refunded_amount(charge: Charge, refunds: Sequence[Refund]) -> int:
    """How much of a charge was refunded, or is on its way back.

    Stripe's own total on the charge covers refunds that we have not seen; whether it falls when a refund fails is not
    documented, so failed refunds are subtracted from it. After a partial capture Stripe books the released rest as a
    refund, but no money moves.
    """
    standing = came_back = 0
    for refund in refunds:
        if refund.status in _REFUND_STANDS:
            standing += refund.amount or 0
        elif refund.status in _REFUND_CAME_BACK:
            came_back += refund.amount or 0
    booked = max(standing, (charge.amount_refunded or 0) - came_back, 0)
    captured = captured_amount(charge)
    # More than was authorized may be captured (overcapture): then nothing was released.
    released = max((captured if charge.amount is None else charge.amount) - captured, 0)
    return max(booked - released, 0)


def disputed_amount(charge: Charge, disputes: Sequence[Dispute], *, left: int) -> int:
    """How much disputes took from a charge and did not give back; `left` is the charge without its refunds.

    Movements in the charge's currency are the money itself, and may exceed the amount that was left: a bank debit can
    be refunded and returned. Other losses are estimates (see `_estimated_loss`), and take no more than is left.
    """
    moved = estimated = 0
    for dispute in disputes:
        if dispute.moved_amount is not None and dispute.moved_currency == charge.currency:
            moved -= dispute.moved_amount
        else:
            estimated += _estimated_loss(charge, dispute, left=left)
    return moved + min(estimated, max(left - moved, 0))


def _estimated_loss(charge: Charge, dispute: Dispute, *, left: int) -> int:
    """How much a dispute takes from a charge when its movements do not say it in the charge's currency.

    One movement is a withdrawal, two a withdrawal and its return. If Stripe lists no movements, only a lost dispute
    took money: the disputed amount, or all that is left when that too is in another currency.
    """
    withdrawn = dispute.status == "lost" if dispute.movements is None else dispute.movements == 1
    if not withdrawn:
        return 0
    if dispute.currency == charge.currency and dispute.amount is not None:
        return dispute.amount
    return max(left, 0)


def out_of_band_amount(invoice: Invoice) -> int:
    """How much of an invoice was paid outside Stripe, by the best information in its API version.

    1. Since 2026-05-27 `amount_paid_off_stripe`, which includes part payments of an open invoice.
    2. Before basil `paid_out_of_band`, all or nothing: `amount_due`, since `amount_paid` leaves such money out, and
       `total` would count a second time the part that a credit balance paid. An invoice with nothing due brought no
       money either way.
    3. Between them `amount_paid` counts all money: the part that Stripe's own payments do not cover came from outside.
       This applies only to a paid invoice, since while it is open the two figures may be of different moments.
    4. Otherwise no payment outside Stripe is known.
    """
    if invoice.amount_paid_off_stripe is not None:
        return invoice.amount_paid_off_stripe
    if invoice.status != "paid":
        return 0
    if invoice.paid_out_of_band is not None:
        return (invoice.amount_due or 0) if invoice.paid_out_of_band else 0
    if invoice.amount_paid_by_payments is not None:
        return max((invoice.amount_paid or 0) - invoice.amount_paid_by_payments, 0)
    return 0


def returned_out_of_band(note: CreditNote) -> int:
    """How much a credit note gave back outside Stripe, including money that had come through Stripe."""
    return 0 if note.status == "void" else note.out_of_band_amount or 0


_OfCharge = TypeVar("_OfCharge", Refund, Dispute)


def _by_charge(rows: Sequence[_OfCharge]) -> dict[str | None, list[_OfCharge]]:
    of: dict[str | None, list[_OfCharge]] = {}
    for row in rows:
        of.setdefault(row.charge_id, []).append(row)
    return of
