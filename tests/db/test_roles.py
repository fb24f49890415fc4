"""deploy/postgres/roles.sql: one command makes roles with no right beyond what they need."""

import asyncio
import subprocess
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from db.migrate import migrate, readers_to_create
from local.postgres import postgres_program
from tests.databases import at_database
from tests.places import ROOT

NAMES = {
    "database": "roles_billing",
    "owner": "roles_owner",
    "owner_password": "own'er",
    "reader": "roles_reports",
}
RIGHTS = """
select rolname, rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls, rolcanlogin
from pg_roles where rolname in ('roles_owner', 'roles_reports') order by 1
"""


def as_role(url: str, role: str, password: str) -> str:
    """The same server and database, as another role."""
    parts = urlsplit(url)
    place = f"{role}:{password.replace(chr(39), '%27')}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=place))


def run(admin_url: str, **named: str) -> tuple[int, str]:
    """The command of docs/deploy.md with these variables: its exit code, and what it says is wrong."""
    variables = [word for name, value in named.items() for word in ("-v", f"{name}={value}")]
    url = urlunsplit(urlsplit(admin_url)._replace(query=""))
    arguments = [url, "-X", "-q", "-v", "ON_ERROR_STOP=1", *variables, "-f", "deploy/postgres/roles.sql"]
    done = subprocess.run(
        [postgres_program("psql"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


async def test_one_command_makes_all_roles(database_url: str) -> None:
    """Twice, and the owner migrates, a reader reads and writes nothing, and nobody else may connect; neither role has a
    right over the server. Without a password it fails, and makes nothing.
    """
    admin = await asyncpg.connect(database_url)
    billing_url = at_database(database_url, NAMES["database"])
    try:
        code, said = await asyncio.to_thread(run, database_url, owner="roles_owner")
        assert (3, True) == (code, "give -v owner_password=..." in said)
        assert [] == await admin.fetch(RIGHTS)
        for _ in range(2):
            assert (0, "") == await asyncio.to_thread(run, database_url, **NAMES, reader_password="reading")
        assert [("roles_owner", False, True), ("roles_reports", False, True)] == [
            tuple(row) for row in await admin.fetch(RIGHTS)
        ]
        owner_url = as_role(billing_url, "roles_owner", NAMES["owner_password"])
        assert await asyncio.to_thread(migrate, owner_url)
        assert [] == await asyncio.to_thread(readers_to_create, owner_url)
        reader = await asyncpg.connect(as_role(billing_url, "roles_reports", "reading"))
        try:
            assert [] == await reader.fetch("select * from billing.customers")
            for forbidden in ("delete from billing.customers", "select * from sync.events"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reader.execute(forbidden)
        finally:
            await reader.close()
        await admin.execute("create role roles_stranger login password 'x'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(as_role(billing_url, "roles_stranger", "x"))
    finally:
        await admin.execute(f"drop database if exists {NAMES['database']} with (force)")
        for role in ("roles_owner", "roles_reports", "roles_stranger"):
            await admin.execute(f"drop role if exists {role}")
        await admin.close()
