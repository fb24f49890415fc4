"""Identities are written by services in SQL: what they may leave out, and what the database refuses."""

import asyncio
import hashlib
import json
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest

from billing.products import NAMESPACE
from billing.record import customer_uid
from db.connection import Pool
from tests.harness import Harness, customer, event

LINK = "insert into billing.identities (stripe_customer_id, custom_uid) values ($1, $2) returning uid"
OTHERS = customer_uid("", False, "cus_2")

PUT = "insert into billing.identities (uid, live_mode, stripe_customer_id) values"

OTHERS_UIDS = {
    "of another customer": f"{PUT} ($1, false, 'cus_1')",
    "without a Stripe customer": "insert into billing.identities (uid, live_mode) values ($1, false)",
    "in the other mode": f"{PUT} ($1, true, 'cus_2')",
    "in another account": (
        "insert into billing.identities (uid, account_id, live_mode, stripe_customer_id) "
        "values ($1, 'acct_1', false, 'cus_2')"
    ),
    "by an update of the uid": "update billing.identities set uid = $1 where stripe_customer_id = 'cus_3'",
    "in one statement with a good one": f"{PUT} (gen_random_uuid(), false, 'cus_4'), ($1, false, 'cus_1')",
    "that is linked to another customer": (
        f"{PUT} ($1, false, 'cus_2') on conflict (uid) do update set stripe_customer_id = 'cus_1'"
    ),
}


@pytest.mark.parametrize("seen", [True, False], ids=["known", "not yet known"])
@pytest.mark.parametrize("statement", OTHERS_UIDS.values(), ids=OTHERS_UIDS)
async def test_uid_of_another_customer_is_refused(webhooks_only: Harness, statement: str, seen: bool) -> None:
    """I7: an identity cannot take another customer's uid, and so its record, whether that customer has a record already
    or will have one: the error says which uid, and what to do.
    """
    harness = webhooks_only
    names = ["cus_1", "cus_2", "cus_3"] if seen else ["cus_1", "cus_3"]
    await harness.apply(*(event("customer.created", customer(each)) for each in names))
    await harness.execute(
        "insert into billing.identities (live_mode, stripe_customer_id) values (false, 'cus_3')"
    )
    if "on conflict" in statement:
        await harness.execute(f"{PUT} ($1, false, 'cus_2')", OTHERS)
    with pytest.raises(asyncpg.CheckViolationError, match=str(OTHERS)) as refused:
        await harness.execute(statement, OTHERS)
    assert "uid_is_its_own_customers" == refused.value.constraint_name
    assert "Leave uid out" in str(refused.value.hint)
    await harness.apply(event("customer.created", customer("cus_2")))
    await harness.engine.derive()
    rows = await harness.fetch("select stripe_customer_id, uid from billing.customers order by 1")
    assert [(each, customer_uid("", False, each)) for each in ("cus_1", "cus_2", "cus_3")] == [
        tuple(row) for row in rows
    ]


async def test_uid_is_refused_while_its_record_is_being_written(webhooks_only: Harness, pool: Pool) -> None:
    """I7: at the same moment one session writes the first record of a customer, and two others identities with its uid:
    each is refused, whoever is first.
    """
    harness = webhooks_only
    await harness.receive(event("customer.created", customer("cus_2")))

    async def claim(customer_id: str) -> str:
        async with pool.acquire() as connection:
            try:
                await connection.execute(
                    OTHERS_UIDS["of another customer"].replace("cus_1", customer_id), OTHERS
                )
            except asyncpg.CheckViolationError:
                return "refused"
            return "taken"

    said = await asyncio.gather(claim("cus_1"), harness.engine.apply(), claim("cus_3"))
    assert ("refused", "refused") == (said[0], said[2])
    assert OTHERS == (await harness.record("cus_2"))["uid"]


async def test_linking_ones_own_name_is_one_insert(webhooks_only: Harness) -> None:
    """An identity without uid and mode: the mode is that of the API key that filled the database, the uid that which
    the record of its customer has, or will have; without a customer it is a random one.
    """
    harness = webhooks_only
    with pytest.raises(asyncpg.NotNullViolationError, match="live_mode") as missing:
        await harness.fetchval(LINK, "cus_1", "u-1")
    assert "true or false" in str(missing.value.hint)
    await harness.execute("insert into sync.key (account_id, live_mode) values ('acct_room', false)")
    await harness.apply(event("customer.created", customer("cus_1")))
    before = await harness.record("cus_1")
    assert before["uid"] == await harness.fetchval(LINK, "cus_1", "u-1")
    await harness.engine.derive()
    after = await harness.record("cus_1")
    assert (before["uid"], "u-1") == (after["uid"], after["custom_uid"])

    early = await harness.fetchval(LINK, "cus_2", "u-2")
    await harness.apply(event("customer.created", customer("cus_2")))
    record = await harness.record("cus_2")
    assert (early, "u-2") == (record["uid"], record["custom_uid"])
    unlinked = {await harness.fetchval(LINK, None, None) for _ in range(2)}
    assert 2 == len(unlinked)
    assert {4} == {each.version for each in unlinked}


async def test_a_moment_must_be_a_moment(webhooks_only: Harness) -> None:
    """I7: 'infinity' compares with no moment in the rules, and would park the customer: the database refuses it."""
    for column in ("sandbox_end", "last_seen", "created_at"):
        with pytest.raises(asyncpg.CheckViolationError, match="moments_are_finite"):
            await webhooks_only.execute(
                f"insert into billing.identities (stripe_customer_id, live_mode, {column}) "
                "values ('cus_1', false, 'infinity')"
            )


async def test_own_uid_may_be_anything_but_anothers(webhooks_only: Harness) -> None:
    """A random uid, and the one that the customer has already, are both taken."""
    harness = webhooks_only
    ours = uuid4()
    await harness.execute(f"{PUT} ($1, false, 'cus_1'), ($2, false, 'cus_2')", ours, OTHERS)
    await harness.execute(
        "update billing.identities set fingerprint = 'f', stripe_customer_id = stripe_customer_id"
    )
    assert {ours, OTHERS} == {row[0] for row in await harness.fetch("select uid from billing.identities")}


@pytest.mark.parametrize(
    ("account_id", "live_mode", "customer_id"),
    [("", False, "cus_1"), ("", True, "cus_1"), ("acct_1Ü", True, "cus_ä\U0001f600"), ("", False, "")]
    + [("", False, "c" * length) for length in (20, 21, 22, 23, 28, 29, 30, 31, 93, 94, 95, 1000)],
)
async def test_database_computes_the_same_uid(
    pool: Pool, account_id: str, live_mode: bool, customer_id: str
) -> None:
    """uuid5 in SQL is uuid5 in Python, whatever the length of what is hashed."""
    expected = customer_uid(account_id, live_mode, customer_id)
    assert expected == await pool.fetchval(
        "select sync.customer_uid($1, $2, $3)", account_id, live_mode, customer_id
    )


async def test_sha1_is_sha1(pool: Pool) -> None:
    """Of messages around every boundary of its blocks."""
    messages = [bytes(n % 251 for n in range(length)) for length in (*range(130), 191, 192, 1000)]
    rows = await pool.fetch(
        "select sync.sha1(m) from unnest($1::bytea[]) with ordinality u (m, n) order by n", messages
    )
    assert [hashlib.sha1(each, usedforsecurity=False).digest() for each in messages] == [
        row[0] for row in rows
    ]
    assert UUID("de58e270-f9f0-4048-ab1e-f63051485ef5") == NAMESPACE
    assert 5 == uuid5(NAMESPACE, "").version


@pytest.mark.parametrize(
    ("written", "shown"),
    [("[]", {}), ("null", {}), ('"x"', {}), ('{"seats": 5, "plan": "pro"}', {"plan": "pro"})],
)
async def test_metadata_of_any_shape(webhooks_only: Harness, written: str, shown: dict[str, str]) -> None:
    """I7: a service writes metadata that are none: the record is derived, with what of them is text."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    await harness.execute(
        "insert into billing.identities (live_mode, stripe_customer_id, metadata) values (false, 'cus_1', $1)",
        written,
    )
    await harness.engine.derive()
    assert 0 == await harness.fetchval("select count(*) from sync.customers where parked_at is not null")
    assert shown == json.loads(await harness.fetchval("select metadata from billing.customers"))
