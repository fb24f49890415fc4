"""Connections to Postgres."""

from datetime import UTC, datetime

from asyncpg.connection import LoggedQuery

from db import connection as connections
from db.connection import connect

ARRAYS = (
    "select $1::boolean[], $2::bigint[], $3::timestamptz[], $4::interval[], $5::uuid[], $6::sync.events[]"
)


async def test_types_are_asked_for_once(database_url: str) -> None:
    """What Postgres says of its own arrays holds for each connection of the process; types of a database are asked for
    on each one, since their numbers are its own.
    """
    values: tuple[list[object], ...] = (
        [True, None],
        [1, 2**40],
        [datetime(2026, 1, 1, tzinfo=UTC)],
        [],
        [],
        [],
    )
    connections._types.clear()  # as in a process that has just begun
    asked = []
    for statement, arguments in ((ARRAYS.rpartition(",")[0], values[:-1]), (ARRAYS, values)):
        for _ in range(2):
            connection = await connect(database_url, application_name="subledger-test")
            queries: list[LoggedQuery] = []
            try:
                connection.add_query_logger(queries.append)
                row = await connection.fetchrow(statement, *arguments)
            finally:
                await connection.close()
            assert row is not None
            assert arguments == tuple(row)
            asked.append(sum("typeinfo_tree" in query.query for query in queries))

    assert [1, 0, 1, 1] == asked
