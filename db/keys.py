"""The keys of what is stored: an account in one mode, and what belongs to it.

They are named tuples, so they sort, hash and compare as the plain tuples of their columns do, and spread into the
parameters of a statement.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Scope(NamedTuple):
    """One account in one mode: nothing is ever joined across scopes."""

    account_id: str  # '' is the API key's own account
    live_mode: bool


class Key(NamedTuple):
    """One object of Stripe's."""

    account_id: str
    live_mode: bool
    kind: str
    id: str

    @property
    def scope(self) -> Scope:
        """The account and mode that it belongs to."""
        return Scope(self.account_id, self.live_mode)


class CustomerKey(NamedTuple):
    """One customer, by Stripe's id."""

    account_id: str
    live_mode: bool
    id: str

    @property
    def scope(self) -> Scope:
        """The account and mode that it belongs to."""
        return Scope(self.account_id, self.live_mode)


class EventKey(NamedTuple):
    """One event of the inbox."""

    account_id: str
    live_mode: bool
    id: str

    @property
    def scope(self) -> Scope:
        """The account and mode that it belongs to."""
        return Scope(self.account_id, self.live_mode)


def columns_of_keys(
    of: type[Scope | Key | CustomerKey | EventKey], keys: Iterable[tuple[Any, ...]]
) -> list[list[Any]]:
    """The keys as one list per column, which is how a statement takes many (`unnest`)."""
    return [list(column) for column in zip(*keys, strict=True)] or [[] for _ in of._fields]
