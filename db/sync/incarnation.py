"""The incarnation: the stretch of the database's history in which ticks, numbers of changes and inbox numbers compare.

It ends when Postgres may have lost committed transactions, or when a sequence was set back (docs/decisions/0009).
`keep_one_history` begins the next one if that is needed. Each session of ours begins with it
(db/connection.py), and workers repeat it every second.
"""

from dataclasses import dataclass

from db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """The ticks that were drawn in the current incarnation."""

    first_tick: int
    last_tick: int

    def drew(self, tick: int) -> bool:
        """Whether this tick is one of them. A read with any other tick began in a history that is over."""
        return self.first_tick <= tick <= self.last_tick


NO_INCARNATION = Incarnation(first_tick=0, last_tick=-1)

SELECT_INCARNATION = "select first_tick, last_tick from sync.current_incarnation"


async def select_incarnation(connection: Connection) -> Incarnation:
    """The current incarnation. In the transaction that stores what a read said."""
    row = await connection.fetchrow(SELECT_INCARNATION)
    return NO_INCARNATION if row is None else Incarnation(first_tick=row[0], last_tick=row[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The last numbers that a process has seen drawn."""

    tick: int = 0
    change: int = 0


THOROUGH_SECONDS_MAX = 3600.0

KEEP_ONE_HISTORY = "select tick, change from sync.keep_one_history($1, $2, $3)"


async def keep_one_history(connection: Connection, seen: Numbers, *, thorough: bool = False) -> Numbers:
    """Begin another incarnation if one is needed, all sequences above what any row bears or this process has seen;
    returns the last numbers drawn. `thorough` reads every row that bears a tick.
    """
    async with connection.transaction():
        if thorough:  # however many rows there are: nothing can begin before this has ended
            await connection.execute("set local statement_timeout = 0")
        row = await connection.fetchrow(
            KEEP_ONE_HISTORY,
            seen.tick,
            seen.change,
            thorough,
            timeout=THOROUGH_SECONDS_MAX if thorough else None,
        )
    return seen if row is None else Numbers(tick=row["tick"], change=row["change"])
