"""The databases that tests share, one after the other: each test finds an empty one."""

import asyncpg

from tests.databases import emptied

INSERT_IDENTITY = """
insert into billing.identities (uid, live_mode, stripe_customer_id) values (gen_random_uuid(), false, 'cus_1')
"""


async def test_emptied_database_is_empty(database_url: str, template_schema: object) -> None:
    """Nothing is left behind, also not by the triggers of what is deleted."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(INSERT_IDENTITY)
    assert 1 == await connection.fetchval("select count(*) from sync.customers"), (
        "the trigger marks the customer"
    )
    await connection.close()
    assert await emptied(database_url, template_schema)
    connection = await asyncpg.connect(database_url)
    for table in ("billing.identities", "sync.customers"):
        assert 0 == await connection.fetchval(f"select count(*) from {table}"), table
    await connection.close()


async def test_altered_database_is_not_used_again(database_url: str, template_schema: object) -> None:
    """Whatever a test does to the schema, no other test finds it."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("create index altered on sync.events (received_at, seq)")
    await connection.close()
    assert not await emptied(database_url, template_schema)
