"""Which of Stripe's lists hold which kinds: what a backfill or an audit has to read."""

from collections.abc import Iterable, Mapping

from billing.registry import KINDS

THROUGH: Mapping[str, str] = {"invoice_payment": "invoice", "refund": "charge", "tax_id": "customer"}
"""Kinds that are read with their parents, which carry them whole: by an expand, or by paging where the list is cut."""


PER_CUSTOMER: Mapping[str, str] = {"active_entitlement_summary": "feature"}
"""Kinds that no list holds: read customer by customer, after the list of the kind that is named here."""


def listed_kinds(names: Iterable[str] = KINDS) -> tuple[str, ...]:
    """The kinds whose lists are to be read for these, in the registry's order; some are read through their parents."""
    wanted = {THROUGH.get(name) or PER_CUSTOMER.get(name, name) for name in names}
    return tuple(name for name in KINDS if name in wanted)
