"""Which of Stripe's lists hold which kinds: the lists that a backfill or an audit has to read."""

from collections.abc import Iterable, Mapping

from billing.kinds.registry import KINDS

THROUGH: Mapping[str, str] = {
    kind.name: kind.read_through for kind in KINDS.values() if kind.read_through is not None
}
"""By kind: the parent kind that it is read with (`Kind.read_through`)."""


PER_CUSTOMER: Mapping[str, str] = {
    kind.name: kind.read_after for kind in KINDS.values() if kind.read_after is not None
}
"""By kind that no list holds: the kind after whose list it is read, customer by customer (`Kind.read_after`)."""


def listed_kinds(names: Iterable[str] = KINDS) -> tuple[str, ...]:
    """The kinds whose lists must be read for these, in the registry's order; some are read through their parents."""
    wanted = {THROUGH.get(name) or PER_CUSTOMER.get(name, name) for name in names}
    return tuple(name for name in KINDS if name in wanted)
