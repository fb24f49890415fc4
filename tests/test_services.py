"""The services of the tests are the real ones: a stand-in would prove nothing."""

from __future__ import annotations

from typing import Any

import psutil
import redis

from subledger.db.connection import Pool


async def test_postgres_is_postgres(pool: Pool) -> None:
    """The database says that it is Postgres, and the process behind the connection is its server."""
    version = await pool.fetchval("select version()")
    assert version.startswith("PostgreSQL ")
    assert int(await pool.fetchval("show server_version_num")) >= 150_000
    backend = psutil.Process(await pool.fetchval("select pg_backend_pid()"))
    assert "postgres" in {process.name() for process in (backend, *backend.parents())}


def test_valkey_is_valkey(redis_url: str) -> None:
    """The cache says that it is Valkey, and the process of the number it gives is its server."""
    with redis.Redis.from_url(redis_url) as client:
        information: Any = client.info("server")
    assert information["server_name"] == "valkey"
    assert psutil.Process(information["process_id"]).name() == "valkey-server"
