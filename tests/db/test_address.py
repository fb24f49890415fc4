"""DATABASE_URL as hosters give it: what each parameter becomes, and what is refused before anything is connected to."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from db.address import AS_IT_IS, BOTH, CHOICES, INSTEAD, Address, read_address, secrets_of
from db.connection import connect, create_pool
from db.migrate import migrate

PASSWORD = "pa55word"
SAMPLES = {"options": "-c work_mem=5MB", "sslrootcert": "/etc/ca.pem", "passfile": "/etc/pgpass"}
"""Values of parameters that are not a choice among some."""

LEFT_OUT = {
    "channel_binding": "require",
    "connection_limit": "5",
    "currentSchema": "billing",
    "fallback_application_name": "billing",
    "gssencmode": "require",
    "hostaddr": "10.0.0.1",
    "keepalives": "1",
    "keepalives_count": "3",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "load_balance_hosts": "random",
    "pgbouncer": "true",
    "pool_timeout": "10",
    "prepareThreshold": "0",
    "replication": "database",
    "require_auth": "scram-sha-256",
    "schema": "billing",
    "search_path": "billing",
    "service": "billing",
    "ssl": "true",
    "sslcrl": "/etc/crl.pem",
    "sslpassword": "x",
    "statement_cache_size": "0",
    "supa": "base-pooler.x",
    "tcp_user_timeout": "1000",
}
"""Parameters of libpq and of other drivers that ours do not know."""


def both_drivers(address: Address) -> tuple[dict[str, Any], str]:
    return address.for_asyncpg(), address.for_dbmate()


@pytest.mark.parametrize("name", sorted(BOTH))
def test_what_both_drivers_know_reaches_both(name: str) -> None:
    """A parameter of libpq that works, works for migrate, web, worker and commands alike."""
    value = SAMPLES.get(name) or CHOICES.get(name, ("billing",))[-1]
    address = read_address(f"postgresql://u@h/d?{name}={value.replace(' ', '%20')}")
    of_asyncpg, of_dbmate = both_drivers(address)
    written = f"{name}={value}".replace(" ", "%20").replace("=5MB", "%3D5MB").replace("/", "%2F")
    assert () == address.left_out
    assert written in of_dbmate
    if name == "application_name":
        assert value == address.application_name
    else:
        assert f"postgresql:///?{written}" == of_asyncpg["dsn"]


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_a_driver_does_not_know_is_left_out_and_named(name: str) -> None:
    """The server would refuse it; the warning names it, for nobody is to believe that it works."""
    address = read_address(f"postgresql://u@h/d?{name}={LEFT_OUT[name]}&sslmode=require")
    (doubt,) = address.doubts
    assert (name,) == address.left_out
    assert doubt.startswith(f"DATABASE_URL: parameters that are not supported are left out: {name}")
    assert INSTEAD.get(name, "") in doubt
    assert f"{name}=" not in "".join(str(each) for each in both_drivers(address))


@pytest.mark.parametrize(("name", "value"), sorted(AS_IT_IS))
def test_what_happens_anyway_needs_no_warning(name: str, value: str) -> None:
    """Such a parameter is left out without a word."""
    address = read_address(f"postgresql://u@h/d?{name}={value}")
    assert [] == address.doubts
    assert name not in "".join(str(each) for each in both_drivers(address))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@127.0.0.1:5/d", "postgresql://u:p@127.0.0.1:5/d?sslmode=disable"),
        ("postgres://localhost/d", "postgresql://localhost:5432/d?sslmode=disable"),
        ("postgres://[::1]/d", "postgresql://[::1]:5432/d?sslmode=disable"),
        (
            "postgres:///d?host=/run/pg",
            "postgresql:///d?sslmode=disable&host=%2Frun%2Fpg&port=5432",
        ),
        (
            "postgres://u:p@%2Frun%2Fpg/d",
            "postgresql://u:p@/d?sslmode=disable&host=%2Frun%2Fpg&port=5432",
        ),
        (
            "postgres:///d?host=db.example.com&port=6",
            "postgresql://db.example.com:6/d?sslmode=prefer",
        ),
        ("postgres://db.example.com/d", "postgresql://db.example.com:5432/d?sslmode=prefer"),
        (
            "postgres://db.example.com/d?sslmode=verify-full",
            "postgresql://db.example.com:5432/d?sslmode=verify-full",
        ),
        # By libpq's rule a name is decoded once, and a plus is a plus.
        (
            "postgresql://u%40x:a%2Fb%25+@h/d%20b",
            "postgresql://u%40x:a%2Fb%25%2B@h:5432/d%20b?sslmode=prefer",
        ),
        ("postgresql://u:a:b@h/d", "postgresql://u:a%3Ab@h:5432/d?sslmode=prefer"),
        ("postgresql://h?dbname=d&user=u@x&password=a@b", "postgresql://u%40x:a%40b@h:5432/d?sslmode=prefer"),
        ("postgresql://u:p[1@h/d", "postgresql://u:p%5B1@h:5432/d?sslmode=prefer"),
        ("postgresql://u:pä$!@h/d", "postgresql://u:p%C3%A4%24%21@h:5432/d?sslmode=prefer"),
        ("postgresql://h/d?connect_timeout=7", "postgresql://h:5432/d?sslmode=prefer&connect_timeout=7"),
        ("postgresql://h/d?connect_timeout=0", "postgresql://h:5432/d?sslmode=prefer"),
        ("postgresql://h/d?sslmode=disable&sslmode=require", "postgresql://h:5432/d?sslmode=require"),
    ],
)
def test_url_for_dbmate(given: str, expected: str) -> None:
    """No TLS on this machine, what the server offers elsewhere, never against what was said; all as it is meant."""
    assert expected == read_address(given).for_dbmate()


def test_several_hosts() -> None:
    """asyncpg looks for the one that will do; dbmate gets one."""
    address = read_address("postgresql://u:p@one,two:6,[::1]/d?port=7&target_session_attrs=read-write")
    assert (("one", 7), ("two", 6), ("::1", 7)) == address.hosts
    assert "postgresql:///?target_session_attrs=read-write" == address.for_asyncpg()["dsn"]
    assert [
        "postgresql://u:p@one:7/d?sslmode=prefer",
        "postgresql://u:p@two:6/d?sslmode=prefer",
        "postgresql://u:p@[::1]:7/d?sslmode=disable",
    ] == [alone.for_dbmate() for alone in address.hosts_alone()]


def test_certificates_of_the_system() -> None:
    """`sslrootcert=system` is no file: it means those of the system, and demands the right name."""
    address = read_address("postgresql://h/d?sslrootcert=system")
    assert (True, "postgresql:///?sslmode=verify-full") == (
        address.for_asyncpg()["ssl"],
        address.for_asyncpg()["dsn"],
    )
    assert "postgresql://h:5432/d?sslrootcert=system&sslmode=verify-full" == address.for_dbmate()
    assert ssl.create_default_context().check_hostname


ENCODED = (
    "special characters of the password are %-encoded: %23 for #, %2F for /, %3F for ?, %40 for @, %25 for %"
)
GIVEN = "give it as postgresql://USER:PASSWORD@HOST/DATABASE"


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        *((f"postgresql://u:{PASSWORD}{bad}@h/d", ENCODED) for bad in ("#", "#1", "@", "@1", "/", "/1", "?", "?1")),
        *((f"postgresql://u:12{bad}{PASSWORD}@h/d", ENCODED) for bad in "#@/?%"),
        (f"postgresql://u:12?{PASSWORD}=1@h/d", ENCODED),
        (f"postgresql://u:{PASSWORD}%zz@h/d", ENCODED),
        (f"postgresql://u:{PASSWORD}%00@h/d", ENCODED),
        (f"postgresql://u:{PASSWORD} 1@h/d", ENCODED),
        (f"postgresql://u:{PASSWORD}\n@h/d", ENCODED),
        (f"postgresql://u:{PASSWORD}@h:99999/d", "a port that is not a number from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h:0/d", "a port that is not a number from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h:text/d", "a port that is not a number from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h/d?port=99999", "a port that is not a number from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h,i/d?port=1,2,3", "as many ports as hosts"),
        (f"postgresql://u:{PASSWORD}@/d", f"names no host: {GIVEN}"),
        (f"postgresql://u:{PASSWORD}@h,/d", f"names no host: {GIVEN}"),
        *((f"postgresql://u:{PASSWORD}@{bad}/d", "a host that can be none") for bad in ("a..b", ".b", f"{'a' * 64}.b")),
        (f"postgresql://u:{PASSWORD}@/d?host=a,b..c", "a host that can be none"),
        ("postgresql:///d", f"names no host: {GIVEN}"),
        (f"postgresql://u:{PASSWORD}@h", f"names no database: {GIVEN}"),
        (f"postgresql://u:{PASSWORD}@h/", f"names no database: {GIVEN}"),
        (f"mysql://u:{PASSWORD}@h/d", "must start with postgresql:// or postgres://"),
        (f"postgresql+asyncpg://u:{PASSWORD}@h/d", "must start with postgresql:// or postgres://"),
        (f"jdbc:postgresql://u:{PASSWORD}@h/d", "must start with postgresql:// or postgres://"),
        (f'"postgresql://u:{PASSWORD}@h/d"', "must start with postgresql:// or postgres://"),
        (f"host=h password={PASSWORD}", GIVEN),
        ("", "must start with postgresql:// or postgres://"),
        (f"postgresql://u:{PASSWORD}@h/d?sslmode=verify_full", "a wrong sslmode: it is one of disable, allow"),
        (f"postgresql://u:{PASSWORD}@h/d?connect_timeout=soon", "a wrong connect_timeout: it is a whole number"),
        (f"postgresql://u:{PASSWORD}@h/d?target_session_attrs=any-will-do", "a wrong target_session_attrs"),
    ],
)  # fmt: skip
def test_refused_with_the_remedy_and_without_the_password(given: str, remedy: str) -> None:
    """What one driver would read in one way and the other in another is not guessed at."""
    with pytest.raises(ValueError, match=r".") as caught:
        read_address(given)
    assert remedy in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "secrets"),
    [
        ("postgresql://u@h/d", ()),
        ("postgresql://u:p%40@h/d", ("p%40", "p@")),
        ("postgresql://u:p@q@h/d", ("p@q",)),
        ("postgresql://h/d?user=u&password=p%40&sslpassword=q", ("p%40", "p@", "q")),
        ("postgresql://h/d?user=u&pass%77ord=p", ("p",)),
        ("no URL", ()),
    ],
)
def test_passwords_are_known(given: str, secrets: tuple[str, ...]) -> None:
    """As they are written and as they are meant: the log masks both."""
    assert secrets == secrets_of(given)


async def test_as_hosters_give_it(empty_database_url: str, tmp_path: Path) -> None:
    """Each driver connects with all that hosters and other drivers add, and what it knows of it has effect."""
    known = "application_name=billing&connect_timeout=9&options=-c%20work_mem%3D5MB&target_session_attrs=any"
    unknown = "&".join(f"{name}={value}" for name, value in LEFT_OUT.items())
    url = f"{empty_database_url}&{known}&{unknown}"
    settings = "current_setting('application_name') || ' ' || current_setting('work_mem')"
    made = f"-- migrate:up\ncreate table made as select {settings} as how;\n-- migrate:down\n"
    tmp_path.joinpath("0001_made.sql").write_text(made)
    await asyncio.to_thread(migrate, url, migrations=tmp_path)
    connection = await connect(url, application_name="subledger-test")
    try:
        assert "billing 5MB" == await connection.fetchval(f"select {settings}")
        assert "billing 5MB" == await connection.fetchval("select how from made")
    finally:
        await connection.close()


async def test_whatever_isolation_is_the_default(database_url: str) -> None:
    """I12: transactions see what others commit while they wait for a lock, also where a role, a database or the address
    has set another isolation for all; a pool's connections as well, when they are lent again.
    """
    url = f"{database_url}&options=-c%20default_transaction_isolation%3Dserializable"
    level = "select current_setting('transaction_isolation')"
    connection = await connect(url, application_name="subledger-test")
    assert "read committed" == await connection.fetchval(level)
    await connection.close()
    async with await create_pool(url, min_size=1, max_size=1, application_name="subledger-test") as pool:
        for _ in range(2):
            async with pool.acquire() as lent, lent.transaction():
                assert "read committed" == await lent.fetchval(level)


async def test_the_host_that_will_do(empty_database_url: str, tmp_path: Path) -> None:
    """Of several hosts both drivers take the one that answers, although the first one does not."""
    host = empty_database_url.partition("@")[2].partition("/")[0]
    url = empty_database_url.replace(f"@{host}/", f"@127.0.0.1:1,{host}/")
    tmp_path.joinpath("0001_made.sql").write_text("-- migrate:up\nselect 1;\n-- migrate:down\n")
    assert ["0001_made.sql"] == await asyncio.to_thread(migrate, url, migrations=tmp_path)
    connection = await connect(url, application_name="subledger-test")
    await connection.close()


def test_environment_of_libpq() -> None:
    """psql gets the same address, with each parameter in the variable that libpq reads, and no other."""
    url = "postgresql://app:p%40ss@a,[::1]:6000/billing?sslmode=require&connect_timeout=5&target_session_attrs=primary"
    assert {
        "PGHOST": "a,::1",
        "PGPORT": "5432,6000",
        "PGDATABASE": "billing",
        "PGUSER": "app",
        "PGPASSWORD": "p@ss",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "5",
        "PGTARGETSESSIONATTRS": "primary",
        "PGAPPNAME": "reports",
        "PGOPTIONS": "-c jit=off",
    } == read_address(f"{url}&application_name=reports&options=-c%20jit%3Doff").for_libpq()
    socket = read_address("postgresql:///d?host=/run/postgresql").for_libpq()
    assert {"PGHOST": "/run/postgresql", "PGPORT": "5432", "PGDATABASE": "d"} == socket
