"""Which of Stripe's lists hold which kinds: what a backfill or an audit has to read."""

from collections.abc import Iterable, Mapping

from billing.kinds.registry import KINDS

THROUGH: Mapping[str, str] = {
    kind.name: kind.read_through for kind in KINDS.values() if kind.read_through is not None
}
"""Kinds that are read with their parents (`Kind.read_through`), by name; with the parent's name."""


PER_CUSTOMER: Mapping[str, str] = {
    kind.name: kind.read_after for kind in KINDS.values() if kind.read_after is not None
}
"""Kinds that no list holds: read customer by customer, after the list of the kind that is named here."""


def listed_kinds(names: Iterable[str] = KINDS) -> tuple[str, ...]:
    """The kinds whose lists are to be read for these, in the registry's order; some are read through their parents."""
    wanted = {THROUGH.get(name) or PER_CUSTOMER.get(name, name) for name in names}
    return tuple(name for name in KINDS if name in wanted)
