"""`subledger psql`: one statement as a table or as JSON, and the address with which psql is begun."""

from pathlib import Path

from cli.psql import READER
from db.connection import Pool
from tests.cli.command import subledger


async def test_statement(pool: Pool, database_url: str) -> None:
    """A table for people and JSON for programs, of the database as it is; a reader's rights if they are asked for."""
    await pool.execute(
        "insert into billing.identities (uid, custom_uid, live_mode) values (gen_random_uuid(), 'u1', false)"
    )

    async def say(sql: str, *options: str) -> tuple[int, str, str]:
        done = await subledger(database_url, "psql", "-c", sql, *options)
        return done.code, done.out, done.err

    many = "select n, n * 1.5 as half, null as none, '\x1b[1m' as odd from generate_series(1, 2) n order by n"
    code, out, err = await say(many)
    assert (0, "") == (code, err)
    assert ["2 rows", "n half none odd", "1 1.5 - \\x1b[1m", "2 3.0 - \\x1b[1m"] == [
        " ".join(line.split()) for line in out.splitlines()
    ]
    values = (
        "select 1.5::numeric as a, true as b, '2026-01-02'::date as c, array[1, 2] as d, 'NaN'::float8 as e"
    )
    shown = (await subledger(database_url, "psql", "--json", "-c", values)).json
    assert [{"a": 1.5, "b": True, "c": "2026-01-02", "d": [1, 2], "e": "nan"}] == shown
    assert (0, "UPDATE 1\n", "") == await say("update billing.identities set custom_uid = 'u2'")
    assert (0, "[]\n", "") == await say("select where false", "--json")
    assert (0, "0 rows\nname  other\n", "") == await say("select 1 as name, 2 as other where false")

    code, out, err = await say("select current_user, count(*) from billing.customers", "--reader")
    assert (0, "", True) == (code, err, f"{READER} 0" in " ".join(out.split()))
    for sql, said in (
        ("select from sync.events", "permission denied for schema sync"),
        ("delete from billing.customers", "read-only transaction"),
    ):
        code, out, err = await say(sql, "--reader")
        assert (1, "") == (code, out)
        assert err.startswith("subledger: Postgres refuses: ")
        assert said in err
    for sql, said in (
        ("selct 1", "syntax error"),
        ("select 1; select 2", "cannot insert multiple commands"),
        ("select from billing.nothing", 'relation "billing.nothing" does not exist'),
        ("-- rows\ncopy billing.identities from stdin", "use psql itself"),
        ("copy billing.identities to stdout", "use psql itself"),
        ("select '0044-03-15 BC'::date", "cast its column to text"),
    ):
        code, out, err = await say(sql)
        assert (1, "") == (code, out)
        assert said in err
        assert "migrate" not in err
    code, out, err = await say("select 1 as a, 2 as a", "--json")
    assert (1, True) == (code, "two columns have the same name" in err)


async def test_psql_itself(database_url: str, tmp_path: Path) -> None:
    """It gets the address in its environment, and the role; its own commands go to it."""
    stand_in = tmp_path / "psql"
    stand_in.write_text(
        '#!/bin/sh\necho "$# $PGDATABASE $PGUSER $PGOPTIONS"; test -n "$PGPASSWORD" && test -z "$PGSERVICE"\n'
    )
    stand_in.chmod(0o755)
    name = database_url.rpartition("/")[2].partition("?")[0]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = await subledger(database_url, "psql", "--reader", PATH=path, PGSERVICE="other")
    assert (0, f"0 {name} subledger -c role={READER} -c default_transaction_read_only=on\n", "") == (
        done.code,
        done.out,
        done.err,
    )
    # No psql on the path: that of the embedded Postgres.
    real = await subledger(database_url, "psql", "-c", "\\dn billing", PATH="/nowhere")
    assert (0, True) == (real.code, "billing" in real.out), real


async def test_what_cannot_be_opened(empty_database_url: str) -> None:
    """One line with the remedy, before psql or a statement runs."""
    for arguments in (["psql"], ["psql", "-c", "select 1"]):
        done = await subledger(empty_database_url, *arguments)
        assert (1, "", "subledger: the database is not migrated: run `subledger migrate`\n") == (
            done.code,
            done.out,
            done.err,
        )
        done = await subledger("postgresql://app:pa55word@127.0.0.1:1/x", *arguments)
        assert (1, "") == (done.code, done.out)
        assert 1 == done.err.count("\n")
        assert "Postgres cannot be reached" in done.err
        assert "pa55word" not in done.err
    for wrong in (["--json"], ["-c", " "], ["-c", "\\d", "--json"]):
        assert 2 == (await subledger(empty_database_url, "psql", *wrong)).code
