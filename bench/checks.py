"""What services ask a thousand times a second: GET /customers/ID/check and GET /customers/ID."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from bench.parts import Figures
from bench.plans import Plan
from bench.system import Machine, Meter, Process
from db.connection import OwnConnection

CLIENTS = 32
"""Connections, as of a service with as many threads."""
WARM_UP = 200

ASKS = (
    ("check_product", "check of a product"),
    ("check_feature", "check of a feature"),
    ("get", "a record by its id"),
)
"""What is asked, and how the table calls it."""

SELECT_ASKED = """
select coalesce(c.custom_uid, c.stripe_customer_id),
  (select min(p.product_id) from billing.customer_products p where p.customer_uid = c.uid),
  (
    select min(coalesce(f.lookup_key, f.feature_id)) from billing.customer_features f where f.customer_uid = c.uid
  )
from (
  select uid, custom_uid, stripe_customer_id from billing.customers
  where account_id = '' and not live_mode and stripe_customer_id is not null
  order by md5(uid::text)
  limit $1
) c
"""
"""Customers at random, and what each of them has."""


async def measure_checks(
    machine: Machine, web: Process, connection: OwnConnection, *, count: int, rates: tuple[float, ...]
) -> Figures:
    """Of each ask: answers a second and CPU when each client asks again at once, and times at steady rates."""
    rows = await connection.fetch(SELECT_ASKED, count)
    found: Figures = {}
    for name, _ in ASKS:
        path = machine.folder / f"{name}.jsonl"
        await asyncio.to_thread(_write, path, [_path(name, *row) for row in rows])
        plan = Plan(port=web.port, path=str(path), of="asks", count=len(rows), connections=CLIENTS)
        if plan.count > WARM_UP:
            await machine.load(msgspec.structs.replace(plan, count=WARM_UP))
        meter = Meter(web=web, postgres=machine.postgres)
        outcome = await machine.load(plan, begin=meter.start)
        used = meter.stop()
        found[name] = {
            "per_second": outcome.per_second,
            "p50_ms": outcome.p50_ms,
            "p99_ms": outcome.p99_ms,
            "web_cpu_us": 1e6 * used["web"] / plan.count,
            "postgres_cpu_us": 1e6 * used["postgres"] / plan.count,
            "others_share": used["others_share"],
            "at_rates": [await _at_rate(machine, msgspec.structs.replace(plan, rate=rate)) for rate in rates],
        }
    return found


def checks_rows(beside: str, found: Figures) -> Iterator[tuple[str, float, int, str, float | None]]:
    """What the table shows: what, the figure, its digits, notes, and the others' CPU."""
    for name, what in ASKS:
        cost = found[name]
        steady = "".join(
            f"; at {each['rate']:g}/s p50 {each['p50_ms']:.1f} ms, p99 {each['p99_ms']:.1f} ms"
            for each in cost["at_rates"]
        )
        notes = f"CPU us each: web {cost['web_cpu_us']:.0f}, postgres {cost['postgres_cpu_us']:.0f}{steady}"
        yield f"{beside}, {what}, answers/s", cost["per_second"], 0, notes, cost["others_share"]


async def _at_rate(machine: Machine, plan: Plan) -> Figures:
    outcome = await machine.load(plan)
    return {"rate": plan.rate, "p50_ms": outcome.p50_ms, "p99_ms": outcome.p99_ms, "max_ms": outcome.max_ms}


def _path(ask: str, name: str, product_id: str | None, feature_id: str | None) -> str:
    customer = f"/customers/{quote(name, safe='')}"
    match ask:
        case "check_product":
            return f"{customer}/check?product_id={quote(product_id or 'none', safe='')}&mode=test"
        case "check_feature":
            return f"{customer}/check?feature_id={quote(feature_id or 'none', safe='')}&mode=test"
        case _:
            return f"{customer}?mode=test"


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
