"""The console's pages of backfills, audits and alarms; and that each form needs its token."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from billing.kinds.lists import listed_kinds
from db.connection import Pool
from tests.webhooks.console.operator import Operator, console_settings, leads, operator_of
from webhooks.console.console import PAGES

FINISHED = """
insert into sync.scans (purpose, account_id, live_mode, kinds, whole, status, started_at, finished_at, step, error)
values ($1, '', false, '{customer}', false, $2, now() - interval '3 s', now(), 'done', $3)
returning id
"""


@pytest.fixture
async def operator(database_url: str, redis_url: str) -> AsyncIterator[Operator]:
    """Somebody at the console of this database."""
    async with operator_of(console_settings(database_url, redis_url)) as operator:
        yield operator


async def test_backfill_is_started_and_canceled(operator: Operator, pool: Pool) -> None:
    """The form asks as the command does; the same again shows the same; what is over is not canceled."""
    assert "There is no backfill yet." in (await operator.get("/console/backfills")).page.text
    first = await operator.send(
        "/console/backfills", {"since": "", "until": "", "customer": "", "account": ""}
    )
    assert 303 == first.status
    page = await operator.get(first.headers["Location"])
    assert "was requested." in page.page.text
    assert "No worker is alive" in page.page.text
    row = await pool.fetchrow("select id, kinds, whole, live_mode, status from sync.scans")
    assert row is not None
    assert (list(listed_kinds()), True, False, "queued") == tuple(row)[1:]
    assert "is under way already." in (await operator.done("/console/backfills", {"since": ""})).page.text
    page = await operator.done(
        "/console/backfills", {"objects": ["refund", "price"], "since": "2026-01-31", "account": "acct_b"}
    )
    assert "acct_b" in page.page.text
    narrow = await pool.fetchrow(
        "select kinds, since::text, account_id from sync.scans order by id desc limit 1"
    )
    assert narrow is not None
    assert ({"price", "charge"}, "2026-01-31 00:00:00+00", "acct_b") == (set(narrow[0]), *tuple(narrow)[1:])
    address = f"/console/backfills/{row['id']}"
    assert f"Backfill {row['id']} is canceled." in (await operator.done(f"{address}/cancel", {})).page.text
    assert "is over already." in (await operator.done(f"{address}/cancel", {})).page.text
    assert "canceled" == await pool.fetchval("select status from sync.scans where id = $1", row["id"])
    shown = (await operator.get("/console/backfills")).page.text
    assert f"Backfill {row['id']} canceled everything test" in shown


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/console/backfills", {"since": "yesterday"}, "since must be a date"),
        (
            "/console/backfills",
            {"since": "2026-02-01", "until": "2026-01-01"},
            "until must be later than since",
        ),
        (
            "/console/backfills",
            {"customer": "cus_1", "objects": ["price"]},
            "customer is read with all its objects",
        ),
        ("/console/backfills", {"objects": ["<b>"]}, "objects names '<b>'"),
        ("/console/backfills", {"account": "acct_\u202e"}, "account must be an id of Stripe"),
        ("/console/audits", {"since": "yesterday", "repair": "yes"}, "since must be a date"),
    ],
)
async def test_wrong_field_is_named(
    operator: Operator, pool: Pool, path: str, fields: dict[str, str], said: str
) -> None:
    """The form comes back with what was given and what is wrong, and nothing is begun."""
    page = await operator.send(path, fields)
    assert 422 == page.status
    assert said in page.page.text
    assert "<b>" not in page.html
    assert 0 == await pool.fetchval("select count(*) from sync.scans")


async def test_progress_of_a_backfill(operator: Operator, pool: Pool) -> None:
    """Each kind with its part done, rows and errors; it refreshes itself until it is over."""
    scan = await pool.fetchval(
        FINISHED.replace("now(), 'done'", "null, 'lists'"), "backfill", "running", None
    )
    await pool.execute(
        "insert into sync.scan_windows (scan_id, kind, variant, low, high, state, objects, requests, error)"
        " values ($1, 'customer', '', now() - interval '2 days', now() - interval '1 day', 'done', 1200, 12, null),"
        " ($1, 'customer', '', now() - interval '1 day', now(), 'open', 34, 1, '<b>refused')",
        scan,
    )
    page = await operator.get(f"/console/backfills/{scan}")
    assert f"Backfill {scan} is running. Step: lists." in page.page.text
    assert "1,234" in page.page.text
    assert "1 of 2" in page.page.text
    assert "&lt;b&gt;refused" in page.html
    assert 'data-refresh="2"' in page.html
    await pool.execute("update sync.scans set status = 'complete', finished_at = now() where id = $1", scan)
    assert "data-refresh" not in (await operator.get(f"/console/backfills/{scan}")).html


async def test_audit_is_started_with_its_choice(operator: Operator, pool: Pool) -> None:
    """With repair or without: two audits. A worker takes up the row, as it does for the command."""
    assert "There is no audit yet." in (await operator.get("/console/audits")).page.text
    page = await operator.done("/console/audits", {"since": "", "account": "", "repair": "yes"})
    assert "Repairs yes" in page.page.text
    page = await operator.done("/console/audits", {"since": "2026-01-31"})
    assert "Repairs no" in page.page.text
    rows = await pool.fetch("select repair, whole, since is null as all, purpose from sync.scans order by id")
    assert [(True, True, True, "audit"), (False, False, False, "audit")] == [tuple(row) for row in rows]
    (first,) = leads(await operator.get("/console/audits"), "/console/audits/")[1:]
    assert "is canceled." in (await operator.done(f"{first}/cancel", {})).page.text


async def test_last_audit_and_its_drift(operator: Operator, pool: Pool) -> None:
    """I11: what differs is named with its money, and so is what is undecided."""
    scan = await pool.fetchval(FINISHED, "audit", "complete", None)
    assert "No drift" in (await operator.get("/console/audits")).page.text
    await pool.execute(
        "insert into sync.drift (scan_id, kind, id, what, fields, currency, amount, verified, error)"
        " values ($1, 'charge', 'ch_1', 'differs', '{amount}', 'usd', -500, true, null),"
        " ($1, 'customer', 'cus_<b>', 'lacking', '{}', null, 0, true, null),"
        " ($1, 'invoice', 'in_9', 'differs', '{}', null, 0, false, 'Stripe does not tell')",
        scan,
    )
    for path in ("/console/audits", f"/console/audits/{scan}"):
        page = await operator.get(path)
        assert "Drift: 2 differences" in page.page.text
        assert "5.00 USD" in page.page.text
        assert "ch_1 charge differs amount" in page.page.text
        assert "cus_<b> customer missing here" in page.page.text
        assert "<b>" not in page.html
        assert "in_9 invoice Stripe does not tell" in page.page.text
    failed = await pool.fetchval(FINISHED, "audit", "failed", "Stripe is away")
    assert (
        "It could not be finished: Stripe is away"
        in (await operator.get(f"/console/audits/{failed}")).page.text
    )
    # The last one that says anything is the one before.
    assert f"The last one: audit {scan}" in (await operator.get("/console/audits")).page.text


async def test_unknown_scans(operator: Operator, pool: Pool) -> None:
    """404, also for the number of the other purpose; nothing is canceled."""
    scan = await pool.fetchval(FINISHED.replace("now(), 'done'", "null, 'lists'"), "audit", "running", None)
    for number in (scan, 99, "x", "0" * 30, "-1"):
        assert 404 == (await operator.get(f"/console/backfills/{number}")).status
        assert 404 == (await operator.send(f"/console/backfills/{number}/cancel", {})).status
    assert 404 == (await operator.get("/console/audits/99")).status
    assert "running" == await pool.fetchval("select status from sync.scans")


async def test_without_an_api_key(database_url: str, redis_url: str, pool: Pool) -> None:
    """Nothing can be read from Stripe, and the pages say so."""
    keyless = replace(console_settings(database_url, redis_url), stripe_api_key=None)
    async with operator_of(keyless) as operator:
        for path in ("/console/backfills", "/console/audits"):
            assert "Without STRIPE_API_KEY" in (await operator.get(path)).page.text
            assert 409 == (await operator.send(path, {})).status
    assert 0 == await pool.fetchval("select count(*) from sync.scans")


async def test_alarms(operator: Operator, pool: Pool, log: io.StringIO) -> None:
    """Each with what is wrong, what to do, account and worker; one is cleared, the other stays. The log says what was
    done, without what was typed.
    """
    assert "No alarm stands." in (await operator.get("/console/alarms")).page.text
    await pool.execute(
        "insert into sync.alarms (name, detail, account_id, remedy, worker) values"
        " ('api <b>key', 'Stripe refuses it: set another', 'acct_b', 'set another', 'worker-7'),"
        " ('events expired', 'events are gone, run an audit', '', '', '')"
    )
    page = await operator.get("/console/alarms")
    assert "Stripe refuses it What to do set another" in page.page.text
    assert "Account acct_b Worker worker-7" in page.page.text
    assert "<b>" not in page.html
    page = await operator.done("/console/alarms", {"name": "api <b>key"})
    assert "Cleared: api <b>key." in page.page.text
    assert ["events expired"] == [row[0] for row in await pool.fetch("select name from sync.alarms")]
    page = await operator.done("/console/alarms", {"name": "api <b>key"})
    assert "This alarm does not stand any more." in page.page.text
    said = [line for line in log.getvalue().splitlines() if "console form" in line]
    assert 2 == len(said)
    assert not [line for line in said if "/console/alarms" not in line or "<b>" in line], said


FORMS = {
    "/console/replay": {"id": "evt_1"},
    "/console/replays": {"state": "parked"},
    "/console/backfills": {},
    "/console/backfills/{number:id}/cancel": {},
    "/console/audits": {},
    "/console/audits/{number:id}/cancel": {},
    "/console/alarms": {"name": "an alarm"},
}


async def test_no_form_without_its_token(operator: Operator, pool: Pool) -> None:
    """403 without the token, or with another one; and nothing has changed."""
    assert set(FORMS) <= {page.path for page in PAGES if page.post}
    await pool.execute("insert into sync.alarms (name, detail) values ('an alarm', 'wrong')")
    await pool.execute(
        "insert into sync.events (account_id, live_mode, event_id, type, payload, state)"
        " values ('', false, 'evt_1', 'price.created', '', 'parked')"
    )
    backfill = await pool.fetchval(
        FINISHED.replace("now(), 'done'", "null, 'lists'"), "backfill", "running", None
    )
    for path, fields in FORMS.items():
        for csrf in ("", "another"):
            answer = await operator.send(path.replace("{number:id}", str(backfill)), fields, csrf=csrf)
            assert 403 == answer.status, path
    assert 1 == await pool.fetchval("select count(*) from sync.alarms")
    assert "parked" == await pool.fetchval("select state from sync.events")
    assert ["running"] == [row[0] for row in await pool.fetch("select status from sync.scans")]
