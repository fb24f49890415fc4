"""Grants: access for a limited time without a subscription; a grant never becomes a subscription.

A grant is given here (billing.identities) or in Stripe's metadata, as `sandbox_end` and `sandbox_product_id`. Only an
event that changes these fields changes a grant, and no event announces that it has ended.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from billing.facts import CustomerFacts
from billing.problems import Problem, sandbox_end_invalid
from billing.status import start_order

_UNIX_SECONDS = re.compile(r"[0-9]{9,10}")  # from 1973 to 2286
_DATE_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Access until `end`, which may be in the past; `product_id` is the company's own name of the product, or None."""

    end: datetime
    product_id: str | None


def grant_of(facts: CustomerFacts) -> tuple[Grant | None, list[Problem]]:
    """The customer's grant, and the problems with texts that cannot be read as one.

    The first source that states a readable end counts: the grant given here, the customer's metadata, then the metadata
    of the subscription that began last. End and product come from the same source, so that a new grant inherits
    nothing.
    """
    problems: list[Problem] = []
    found: list[Grant] = []
    if facts.identity is not None and facts.identity.sandbox_end is not None:
        found.append(Grant(end=facts.identity.sandbox_end, product_id=facts.identity.sandbox_product_id))
    for object_id, metadata in _stated(facts):
        said = metadata.get("sandbox_end")
        if not said:
            continue
        end = read_end(said)
        if end is None:
            problems.append(sandbox_end_invalid(object_id, said))
        else:
            found.append(Grant(end=end, product_id=metadata.get("sandbox_product_id") or None))
    return (found[0] if found else None), problems


def read_end(said: str) -> datetime | None:
    """A time as people write it: Unix seconds, or ISO 8601 (UTC if it has no zone). None for anything else."""
    try:
        if _UNIX_SECONDS.fullmatch(said):
            return datetime.fromtimestamp(int(said), UTC)
        if said.isdigit() and len(said) != _DATE_DIGITS:
            return None  # milliseconds, for example, which Python would take for a date long ago
        moment = datetime.fromisoformat(said)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _stated(facts: CustomerFacts) -> Iterator[tuple[str, Mapping[str, str]]]:
    if facts.customer is not None:
        yield facts.customer_id, facts.customer.metadata
    for subscription in sorted(facts.subscriptions, key=start_order, reverse=True):
        yield subscription.id, subscription.metadata
