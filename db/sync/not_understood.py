"""Objects that could not be understood and whose kind names no customer: what they name leads to one."""

from collections.abc import Mapping, Sequence

from billing.kinds.found import ObjectRef
from db.connection import Connection
from db.keys import Key, Scope, columns_of_keys

NOTE_NOT_UNDERSTOOD = """
insert into sync.not_understood as u (account_id, live_mode, kind, id, named_kind, named_id)
select * from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::text[])
order by 1, 2, 3, 4
on conflict (account_id, live_mode, kind, id) do update set
  named_kind = excluded.named_kind, named_id = excluded.named_id
where (u.named_kind, u.named_id) <> (excluded.named_kind, excluded.named_id)
"""


async def note_not_understood(connection: Connection, named: Mapping[Key, ObjectRef]) -> None:
    """Remember what these objects name. The caller holds their locks, and has raised `touched`, so that their customers
    are looked up.
    """
    if named:
        await connection.execute(
            NOTE_NOT_UNDERSTOOD,
            *columns_of_keys(Key, list(named)),
            [ref.kind for ref in named.values()],
            [ref.id for ref in named.values()],
        )


SELECT_NAMED = """
select named_kind, named_id
from sync.not_understood
where account_id = $1 and live_mode = $2 and kind = $3 and id = any ($4::text[])
"""

DROP_UNDERSTOOD = """
delete from sync.not_understood u
using sync.objects o
where u.account_id = $1 and u.live_mode = $2 and u.kind = $3 and u.id = any ($4::text[])
  and o.account_id = $1 and o.live_mode = $2 and o.kind = $3 and o.id = u.id and not o.unsettled
"""


async def select_named(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str]
) -> list[ObjectRef]:
    """What those of these objects name that could not be understood; those that are by now are dropped. The caller
    holds the locks of all of them.
    """
    rows = await connection.fetch(SELECT_NAMED, *scope, kind, ids)
    if rows:
        await connection.execute(DROP_UNDERSTOOD, *scope, kind, ids)
    return [ObjectRef(row[0], row[1]) for row in rows]
