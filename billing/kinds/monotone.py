"""Facts that Stripe never takes back: a read that takes one back is old, and must be repeated."""

from collections.abc import Mapping

from billing.kinds.found import Facts
from billing.kinds.invoices import Invoice
from billing.kinds.payments import Charge
from billing.kinds.subscriptions import SUBSCRIPTION, Subscription

_INVOICE_RANK = {"draft": 0, "open": 1, "paid": 2, "uncollectible": 2, "void": 2}


def goes_back(stored: Mapping[str, object], read: Facts) -> str | None:
    """The fact of the stored row that a read takes back, in words; None if it takes back none.

    The stored row may come from a payload: Stripe signed that too, so the change that it states has happened.
    """
    match read:
        case Subscription():
            before = stored["status"]
            if before in SUBSCRIPTION.absorbing and read.status != before:
                return f"status {before} became {read.status}"
        case Invoice():
            before = stored["status"]
            rank = _INVOICE_RANK.get(str(before), 0)
            if _INVOICE_RANK.get(str(read.status), 2) < rank or (before == "void" and read.status != "void"):
                return f"status {before} became {read.status}"
        case Charge():
            captured = stored["amount_captured"]
            if isinstance(captured, int) and (read.amount_captured or 0) < captured:
                return f"amount_captured {captured} became {read.amount_captured}"
        case _:
            pass
    return None


def is_behind(told: Facts, read: Facts) -> bool:
    """Whether a payload lacks a step that the read shows and that Stripe never takes back: it is the older one."""
    fact = _COLUMNS.get(type(read))
    return fact is not None and goes_back({fact: getattr(read, fact)}, told) is not None


MONOTONE: Mapping[str, str] = {"subscription": "status", "invoice": "status", "charge": "amount_captured"}
"""By kind with such a fact: the column that holds it."""
_COLUMNS: Mapping[type[Facts], str] = {
    Subscription: MONOTONE["subscription"],
    Invoice: MONOTONE["invoice"],
    Charge: MONOTONE["charge"],
}
