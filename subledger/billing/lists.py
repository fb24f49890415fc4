"""Which of Stripe's lists hold which kinds: what a backfill or an audit has to read."""

from collections.abc import Iterable, Mapping

from subledger.billing.registry import KINDS

THROUGH: Mapping[str, str] = {"invoice_payment": "invoice", "refund": "charge"}
"""Kinds that are read with their parents, which carry them whole: by an expand, or by paging where the list is cut."""


def listed_kinds(names: Iterable[str] = KINDS) -> tuple[str, ...]:
    """The kinds whose lists are to be read for these, in the registry's order; some are read through their parents."""
    wanted = {THROUGH.get(name, name) for name in names}
    return tuple(name for name in KINDS if name in wanted)
