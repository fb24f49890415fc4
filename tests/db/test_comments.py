"""The schema explains itself: no other page is needed to know what a column means."""

from db.connection import Pool

RELATIONS = """
select format('%I.%I', n.nspname, c.relname) as name, obj_description(c.oid, 'pg_class') as comment
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('stripe', 'billing', 'sync') and c.relkind in ('r', 'p', 'v', 'm')
"""

COLUMNS = """
select format('%I.%I.%I', n.nspname, c.relname, a.attname) as name, col_description(c.oid, a.attnum) as comment,
  a.atttypid = 'bigint'::regtype as whole_number
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname in ('stripe', 'billing', 'sync') and c.relkind in ('r', 'p', 'v', 'm')
"""

AMOUNTS = ("amount", "total", "gross", "refunded", "disputed", "out_of_band", "net", "lifetime_revenue")


async def test_every_table_and_view_has_a_comment(pool: Pool) -> None:
    """A table says what one row of it is."""
    rows = await pool.fetch(RELATIONS)
    assert len(rows) > 20
    assert [] == [row["name"] for row in rows if not row["comment"]]


async def test_every_column_has_a_comment(pool: Pool) -> None:
    """A column says what it means, what NULL means, and where it comes from."""
    rows = await pool.fetch(COLUMNS)
    assert len(rows) > 250
    assert [] == sorted(row["name"] for row in rows if not row["comment"])


async def test_amounts_say_their_unit(pool: Pool) -> None:
    """1000 may be ten dollars or a thousand yen: a column of money says that it counts minor units."""
    rows = await pool.fetch(COLUMNS)
    amounts = [
        row for row in rows if row["whole_number"] and row["name"].rpartition(".")[2].startswith(AMOUNTS)
    ]
    assert len(amounts) > 20
    assert [] == [row["name"] for row in amounts if "inor units" not in row["comment"]]
