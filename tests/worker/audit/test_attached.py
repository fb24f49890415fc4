"""What the audit is the proof of: an account that has lived is attached to, and every record equals its truth.

`make prove` does the same with eighty times the customers.
"""

import json
import os
from pathlib import Path

import aiohttp
import asyncpg

from runtime.retry import retry_conflicts
from sandbox import Sandbox, create_api, deliver, serve
from tests.cli.command import PROGRESS, Done, ended, running
from tests.system import ADMIN_TOKEN, SECRET, System, running_system, start, until
from tests.truth import different_records
from tests.worker.account import API_KEY
from tests.worker.audit.damage import damage

CUSTOMERS = int(os.environ.get("PROVE_CUSTOMERS", "250"))
WITHIN_SECONDS = 240.0 + CUSTOMERS / 20
DAY = 86_400
LIVED_DAYS = 30


async def test_attached_account_is_proved_equal(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Webhooks arrive while the backfill runs, and its workers are killed twice: every record equals the truth, and
    the audit says so; it finds exactly what is damaged then, and has it mended.
    """
    sandbox = Sandbox(seed=41)
    sandbox.play(customers=CUSTOMERS)
    sandbox.advance(LIVED_DAYS * DAY)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
            workers=2,
        ) as system,
    ):
        await backfill_while_living(sandbox, system)
        status = await system.settled(within_seconds=WITHIN_SECONDS)
        assert 0 == status["parked"]
        different = without_history(await different_records(sandbox, database_url))
        assert not different, "\n".join(different[:20])

        none = (await command(system, "audit", "--json")).json
        assert ("complete", 0) == (none["audit"]["status"], none["audit"]["drift"]), none

        connection = await asyncpg.connect(database_url)
        try:
            wrong = await damage(connection, seed=41, rows=CUSTOMERS // 4, records=CUSTOMERS // 10)
            found = await command(system, "audit", "--repair", "--json")
            assert 1 == found.code, found
            assert PROGRESS.fullmatch(found.err), found
            audit = json.loads(found.out)["audit"]
            rows = await connection.fetch(
                "select kind, id, what from sync.drift where scan_id = $1", audit["id"]
            )
            told = {(row["kind"], row["id"]): row["what"] for row in rows}
            assert set() == wrong.items() ^ told.items()
            assert len(wrong) == audit["drift"]
        finally:
            await connection.close()
        await system.settled(within_seconds=WITHIN_SECONDS)
        different = without_history(await different_records(sandbox, database_url))
        assert not different, "\n".join(different[:20])
        mended = await command(system, "audit")
        assert 0 == mended.code, mended
        assert mended.out.startswith("No drift")
        last = (await system.status())["last_audit"]
        assert isinstance(last, dict)
        assert ("complete", 0) == (last["status"], last["drift"])


def without_history(lines: list[str]) -> list[str]:
    """Differences, but those of status_changes: a webhook may have a customer derived in the middle of the filling,
    and what was shown then stays in the history; so does what was damaged and mended.
    """
    return [line for line in lines if "status_changes" not in line]


async def backfill_while_living(sandbox: Sandbox, system: System) -> None:
    """Backfill everything; the account lives on meanwhile, and the workers are killed twice."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(system.base_url, headers=headers) as session:
        async with session.post("/backfills", json={"objects": ["all"]}) as response:
            assert 202 == response.status
            location = response.headers["Location"]

        async def report() -> dict[str, object]:
            async with session.get(location) as response:
                found: dict[str, object] = await response.json()
                return found

        async def rows_read() -> int:
            objects = (await report())["objects"]
            assert isinstance(objects, list)
            return sum(int(each["rows"]) for each in objects)

        for rows in (CUSTOMERS, 4 * CUSTOMERS):

            async def far_enough(rows: int = rows) -> bool:
                return await rows_read() >= rows

            await until(far_enough, within_seconds=WITHIN_SECONDS, what="some pages")
            victim = system.workers[0]
            await victim.kill()
            system.workers.append(system.workers.pop(0))
            system.workers[-1] = await start("worker", system.environment, victim.log)
            await end_leases(system)
            delivered = await deliver(sandbox.advance(DAY // 4), system.webhook_url, SECRET)
            assert 0 == delivered.refused

        async def ended() -> bool:
            return (await report())["finished_at"] is not None

        await until(ended, within_seconds=WITHIN_SECONDS, what="the backfill's end")
        last = await report()
        assert ("complete", None) == (last["status"], last["error"])


FREE = """
update sync.scan_windows set due_at = now() where due_at > now();
update sync.scans set due_at = now() where due_at > now();
update sync.objects set read_at = now()
  where read_at > now() and dirty >= confirmed and missing_since is null and parked_at is null;
update sync.events set leased_until = now() where leased_until > now();
update sync.customers set leased_until = now() where leased_until > now();
update sync.customers set history_at = now() where history_at > now();
"""


async def end_leases(system: System) -> None:
    """As if the time had passed after which whatever a killed worker had in hand is free."""
    connection = await asyncpg.connect(system.environment["DATABASE_URL"])
    try:
        await retry_conflicts(lambda: connection.execute(FREE))
    finally:
        await connection.close()


async def command(system: System, *arguments: str) -> Done:
    """A command as an operator runs it next to the system."""
    given = {name: value for name, value in system.environment.items() if name != "DATABASE_URL"}
    async with running(system.environment["DATABASE_URL"], *arguments, **given) as process:
        return await ended(process, within_seconds=WITHIN_SECONDS)
