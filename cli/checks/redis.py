"""Redis: whether it wakes workers. Without it everything works, a second slower."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cli.checks.finding import Finding, ok, warning
from runtime.bell import RedisError, connect_redis


async def look_at_redis(redis_url: str) -> AsyncIterator[Finding]:
    """Whether it answers, takes writes, and evicts nothing."""
    client = connect_redis(redis_url, timeout_seconds=5.0)
    try:
        said: dict[str, Any] = await client.info()
    except (*RedisError, ValueError) as error:
        yield warning(
            "redis connection",
            f"it cannot be reached ({type(error).__name__}: {error}): everything is a second slower",
            "see that Redis runs, and that host, port, password and TLS in REDIS_URL are right",
        )
        return
    finally:
        with contextlib.suppress(*RedisError):
            await client.aclose(close_connection_pool=True)
    yield ok(
        "redis connection", f"{said.get('server_name', 'redis')} {said.get('redis_version', '')}".rstrip()
    )
    if said.get("role") == "slave":
        yield warning(
            "redis role", "it is a replica, which takes no writes", "let REDIS_URL name the primary"
        )
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and said.get("maxmemory"):
        yield warning(
            "redis eviction",
            f"its policy is {policy}: it throws away jobs when its memory is full",
            "set maxmemory-policy noeviction, or give Subledger a Redis of its own",
        )
    else:
        yield ok("redis eviction", "it evicts nothing")
