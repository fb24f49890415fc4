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


def in_each_scope(table: str, condition: str, *, columns: tuple[str, ...] = Scope._fields) -> str:
    """A recursive query named `found`: the rows of a table that meet a condition about the rest of its key, looked for
    in each account and mode (or other first columns of the key) that the table has.

    Each of these costs two looks into the key. Before Postgres 18, which skips columns on its own, a search by an id
    alone would read the table.
    """
    names, of_rows = ", ".join(columns), ", ".join(f"t.{column}" for column in columns)
    of_scope = ", ".join(f"s.{column}" for column in columns)
    # `offset 0` keeps the lookup by key, whatever a planner estimates of the number of scopes.
    return f"""scopes as (
  (select {names} from {table} order by {names} limit 1)
  union all
  select further.*
  from scopes s
  cross join lateral (
    select {of_rows} from {table} t where ({of_rows}) > ({of_scope}) order by {of_rows} limit 1
  ) further
), found as (
  select matching.*
  from scopes s
  cross join lateral (
    select * from {table} t where ({of_rows}) = ({of_scope}) and ({condition}) offset 0
  ) matching
)"""
