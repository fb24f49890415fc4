"""The services of the tests are the real ones: a stand-in would prove nothing."""

import asyncio
import importlib.metadata
import os
import sys
from typing import Any

import arq
import psutil
import redis
from arq.connections import RedisSettings

from db.connection import Pool


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


async def tell_process(_context: dict[str, Any]) -> int:
    """The job of the next test: returns the process that runs it."""
    return os.getpid()


class ArqProbe:
    """The settings of the arq process of the next test."""

    functions = [tell_process]  # noqa: RUF012  arq reads it so
    redis_settings = RedisSettings.from_dsn(os.environ.get("ARQ_PROBE_REDIS_URL", "redis://"))


async def test_arq_is_arq(redis_url: str) -> None:
    """A job put into the queue by arq here is run by the real arq in a process of its own."""
    assert importlib.metadata.version("arq") == arq.VERSION
    pool = await arq.create_pool(RedisSettings.from_dsn(redis_url))
    try:
        job = await pool.enqueue_job("tell_process")
        assert job is not None
        arguments = ["-W", "ignore", "-m", "arq", "tests.test_services.ArqProbe", "--burst"]
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=os.environ | {"ARQ_PROBE_REDIS_URL": redis_url}
        )
        assert 0 == await worker.wait()
        assert worker.pid == await job.result(timeout=60)
    finally:
        await pool.aclose()
