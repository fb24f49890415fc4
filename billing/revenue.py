"""Revenue: the money that a customer paid, per currency, before fees, transfers and taxes are deducted.

It is summed from the objects each time and never incremented, so that nothing can be counted twice. Amounts are minor
units of their currency as Stripe gives them (JPY has no cents); currencies are never added up.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from billing.currencies import BIGINT_MAX, storable
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
    gross: int | None  # None, as of each amount: a bigint cannot hold it
    refunded: int | None
    disputed: int | None
    out_of_band: int | None
    net: int | None  # gross - refunded - disputed + out_of_band


@dataclass(slots=True)
class _Sums:
    gross: int = 0
    refunded: int = 0
    disputed: int = 0
    out_of_band: int = 0

    @property
    def net(self) -> int:
        return self.gross - self.refunded - self.disputed + self.out_of_band


def revenue_of(facts: CustomerFacts, *, customer_uid: UUID) -> tuple[Revenue, ...]:
    """The customer's revenue, one row for each currency in which money moved, in order of currency."""
    refunds = _by_charge(facts.refunds)
    disputes = _by_charge(facts.disputes)
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for charge in facts.charges:
        if charge.status == "succeeded" and money_came(charge) and charge.currency is not None:
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
            gross=storable(of.gross),
            refunded=storable(of.refunded),
            disputed=storable(of.disputed),
            out_of_band=storable(of.out_of_band),
            net=storable(of.net),
        )
        for currency, of in sorted(sums.items())
        if of.gross or of.refunded or of.disputed or of.out_of_band
    )


def main_revenue(rows: Sequence[Revenue]) -> Revenue | None:
    """The row that the record shows: the one with the largest gross + out_of_band; ties go by the alphabet."""
    return min(rows, key=lambda row: (-_came(row), row.currency), default=None)


def _came(row: Revenue) -> int:
    """The gross + out_of_band of a row; what a bigint cannot hold is more than anything that it can."""
    return sum(3 * BIGINT_MAX if each is None else each for each in (row.gross, row.out_of_band))


def money_came(charge: Charge) -> bool:
    """Whether anything was captured. Between several captures of one charge, Stripe still says that it is not."""
    return charge.captured or (charge.amount_captured or 0) > 0


def captured_amount(charge: Charge) -> int:
    """The amount captured. If Stripe does not say how much, the whole amount of a captured charge was."""
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    return captured or 0


_REFUND_STANDS = frozenset({"pending", "requires_action", "succeeded"})
_REFUND_CAME_BACK = frozenset({"failed", "canceled"})


def refunded_amount(charge: Charge, refunds: Sequence[Refund]) -> int:
    """How much of a charge was refunded, or is on its way back.

    Stripe's own total on the charge covers refunds that we have not seen; whether it falls when a refund fails is not
    documented, so failed refunds are subtracted from it. After a single partial capture Stripe books the released rest
    as a refund, but no money is given back. After several captures it books none.
    """
    standing = came_back = 0
    for refund in refunds:
        if refund.status in _REFUND_STANDS:
            standing += refund.amount or 0
        elif refund.status in _REFUND_CAME_BACK:
            came_back += refund.amount or 0
    booked = max(standing, (charge.amount_refunded or 0) - came_back, 0)
    released = 0
    if charge.captured and charge.amount is not None and not charge.multicapture:
        # More than was authorized may be captured (overcapture): then nothing was released.
        released = max(charge.amount - captured_amount(charge), 0)
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

    Of the disputed amount it takes the share that was withdrawn and not returned, half a minor unit rounded up.
    Movements in several currencies have no sum: then all is gone until the dispute is won. Where Stripe lists no
    movements, only a lost dispute took money. The disputed amount is all that is left of the charge if the dispute
    is in another currency, too.
    """
    disputed = dispute.amount if dispute.currency == charge.currency else None
    if disputed is None:
        disputed = max(left, 0)
    if dispute.moved_amount is not None:
        gone = max(-dispute.moved_amount, 0)
        most = max(dispute.withdrawn_amount or 0, gone)
        return (2 * disputed * gone + most) // (2 * most) if most else 0
    if dispute.movements is None:
        return disputed if dispute.status == "lost" else 0
    return disputed if dispute.movements and dispute.status != "won" else 0


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
