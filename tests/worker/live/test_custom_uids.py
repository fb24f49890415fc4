"""A custom_uid belongs to one customer, in whatever order the claims are derived: what the company wrote comes before
what a buyer wrote, then the earliest at Stripe. It costs no more when very many claim it.
"""

import asyncio
import itertools

import pytest

from billing.status import Policy
from db.connection import Pool
from db.mirror import claims as stored_claims
from db.records import names
from tests.harness import NOON, Body, Harness, checkout_session, customer, event, subscription
from worker.live.apply import apply_batch
from worker.live.derive import derive_batch


def claims(customer_id: str, uid: str | None, *, born: int) -> Body:
    """A customer, created this many seconds after NOON, with metadata that claims a name."""
    metadata = {} if uid is None else {"custom_uid": uid}
    return customer(customer_id, created=NOON + born, metadata=metadata)


async def holders(harness: Harness) -> dict[str, str | None]:
    rows = await harness.fetch("select stripe_customer_id, custom_uid from billing.customers")
    return {row[0]: row[1] for row in rows}


async def losers(harness: Harness) -> dict[str, str]:
    """The customers that have a problem because their name is taken, and which customer took it."""
    rows = await harness.fetch(
        "select customer_id, detail from sync.problems where kind = 'custom_uid_taken'"
    )
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
async def test_earliest_customer_has_it(webhooks_only: Harness, order: tuple[int, ...]) -> None:
    """In whatever order three claims come, the earliest customer has the name, and the others' problems say so."""
    harness = webhooks_only
    for number in order:
        await harness.apply(event("customer.created", claims(f"cus_{number}", "ada", born=number)))
    assert {"cus_1": "ada", "cus_2": None, "cus_3": None} == await holders(harness)
    told = await losers(harness)
    assert {"cus_2", "cus_3"} == told.keys()
    assert all("cus_1" in detail for detail in told.values())


async def test_same_second_is_decided_by_id(webhooks_only: Harness) -> None:
    """Of two customers born in one second the smaller id, by bytes, has the name."""
    harness = webhooks_only
    await harness.apply(event("customer.created", claims("cus_a", "ada", born=0)))
    await harness.apply(event("customer.created", claims("cus_B", "ada", born=0)))
    assert {"cus_a": None, "cus_B": "ada"} == await holders(harness)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2))), ids=["gives first", "takes first"])
@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
async def test_name_passes_from_one_to_another(
    webhooks_only: Harness, order: tuple[int, ...], together: bool
) -> None:
    """A name that one customer gives up and another takes arrives there, whichever of the two events comes first."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", claims("cus_1", "ada", born=1)),
        event("customer.created", claims("cus_2", None, born=2)),
    )
    changes = {
        1: event("customer.updated", claims("cus_1", "eve", born=1), after=60),
        2: event("customer.updated", claims("cus_2", "ada", born=2), after=60),
    }
    if together:
        await harness.apply(*(changes[number] for number in order))
    else:
        for number in order:
            await harness.apply(changes[number])
    assert {"cus_1": "eve", "cus_2": "ada"} == await holders(harness)
    assert {} == await losers(harness)


async def test_two_swap_their_names(webhooks_only: Harness) -> None:
    """Two names change places in one batch, and change back one by one."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", claims("cus_1", "ada", born=1)),
        event("customer.created", claims("cus_2", "eve", born=2)),
    )
    await harness.apply(
        event("customer.updated", claims("cus_1", "eve", born=1), after=60),
        event("customer.updated", claims("cus_2", "ada", born=2), after=60),
    )
    assert {"cus_1": "eve", "cus_2": "ada"} == await holders(harness)
    await harness.apply(event("customer.updated", claims("cus_2", "eve", born=2), after=120))
    assert {"cus_1": "eve", "cus_2": None} == await holders(harness)
    await harness.apply(event("customer.updated", claims("cus_1", "ada", born=1), after=130))
    assert {"cus_1": "ada", "cus_2": "eve"} == await holders(harness)


async def test_released_name_goes_to_the_next_one(webhooks_only: Harness) -> None:
    """When the holder gives a name up, the next earliest claimant has it, and the problem of the one after says so."""
    harness = webhooks_only
    await harness.apply(*(event("customer.created", claims(f"cus_{n}", "ada", born=n)) for n in (1, 2, 3)))
    await harness.apply(event("customer.updated", claims("cus_1", None, born=1), after=60))
    assert {"cus_1": None, "cus_2": "ada", "cus_3": None} == await holders(harness)
    told = await losers(harness)
    assert {"cus_3"} == told.keys()
    assert "cus_2" in told["cus_3"]
    await harness.apply(event("customer.updated", claims("cus_2", "b", born=2), after=70))
    assert {"cus_1": None, "cus_2": "b", "cus_3": "ada"} == await holders(harness)
    assert {} == await losers(harness)


async def test_earlier_claimant_takes_it_over(webhooks_only: Harness) -> None:
    """A customer that becomes known late but was created earlier takes the name, and the holder loses it at once."""
    harness = webhooks_only
    await harness.apply(event("customer.created", claims("cus_2", "ada", born=2)))
    assert {"cus_2": "ada"} == await holders(harness)
    await harness.apply(event("customer.created", claims("cus_1", "ada", born=1)))
    assert {"cus_1": "ada", "cus_2": None} == await holders(harness)
    assert {"cus_2"} == (await losers(harness)).keys()


async def test_claims_derived_at_the_same_time(webhooks_only: Harness, pool: Pool) -> None:
    """Claims of twelve customers for three names, derived by three workers at once while they change, end as they do
    when derived one by one.
    """
    harness = webhooks_only
    names = ("ada", "eve", "joy")
    for turn in range(2):
        await harness.receive(
            *(
                event(
                    "customer.updated",
                    claims(f"cus_{n:02}", names[(n + turn) % 3] if (n + turn) % 5 else None, born=n),
                    after=10 * turn,
                )
                for n in range(12)
            )
        )

        async def work() -> None:
            async with pool.acquire() as connection:
                while await apply_batch(connection, served_mode=None, confirms=False, limit=2):
                    await derive_batch(connection, policy=Policy(), limit=2)
                while await derive_batch(connection, policy=Policy(), limit=2):
                    pass

        await asyncio.gather(*(work() for _ in range(3)))
        await harness.engine.derive()
        expected: dict[str, str | None] = {}
        taken: set[str] = set()
        for n in range(12):
            wanted = names[(n + turn) % 3] if (n + turn) % 5 else None
            expected[f"cus_{n:02}"] = wanted if wanted is not None and wanted not in taken else None
            taken |= {wanted} if wanted is not None else set()
        assert expected == await holders(harness), f"turn {turn}"
        assert [] == await harness.fetch(
            "select * from sync.customers where stale > derived or parked_at is not null"
        )


async def test_name_is_its_own_in_each_account(webhooks_only: Harness) -> None:
    """The same name may be used once in each account and mode."""
    harness = webhooks_only
    for account, live in itertools.product((None, "acct_a"), (False, True)):
        await harness.apply(
            event("customer.created", claims("cus_1", "ada", born=0), account=account, live=live)
        )
    rows = await harness.fetch("select custom_uid from billing.customers")
    assert ["ada"] * 4 == [row[0] for row in rows]


@pytest.mark.parametrize("uid", ["asdfj45 345345345 %%%", "%%%%", "!!#123. 45", "", "a" * 256, "\u00e4"])
async def test_names_that_are_none(webhooks_only: Harness, uid: str) -> None:
    """What cannot stand in an address is kept out, and reported with the customer that states it."""
    harness = webhooks_only
    await harness.apply(event("customer.created", claims("cus_1", uid, born=0)))
    assert {"cus_1": None} == await holders(harness)
    rows = await harness.fetch("select customer_id, kind, object_id from sync.problems")
    assert [("cus_1", "custom_uid_invalid", "cus_1")] == [tuple(row) for row in rows]


def link_session(
    customer_id: str, reference: str, *, number: int = 1, link: str | None = "plink_1", after: int = 0
) -> Body:
    """A completed session with a reference; by default of a payment link, so that the buyer has written it."""
    return checkout_session(
        f"cs_{customer_id[4:]}_{number}",
        customer_id,
        created=NOON + after,
        client_reference_id=reference,
        payment_link=link,
    )


@pytest.mark.parametrize("first", ["buyer first", "company first"])
@pytest.mark.parametrize("source", ["checkout", "metadata", "local"])
async def test_i13_a_buyer_takes_no_name(webhooks_only: Harness, source: str, first: str) -> None:
    """I13: a buyer who came earlier, and writes the name of another customer behind a payment link, does not have it,
    whoever of the two is told first; when the company takes it back, the buyer has it.
    """
    harness = webhooks_only
    buyer = [
        event("customer.created", claims("cus_1", None, born=1)),
        event("checkout.session.completed", link_session("cus_1", "ada")),
    ]
    company = [event("customer.created", claims("cus_2", "ada" if source == "metadata" else None, born=2))]
    if source == "checkout":
        company += [event("checkout.session.completed", link_session("cus_2", "ada", link=None))]
    for told in (buyer, company) if first == "buyer first" else (company, buyer):
        await harness.apply(*told)
        if told is company and source == "local":
            await harness.execute(
                "insert into billing.identities (uid, account_id, live_mode, stripe_customer_id, custom_uid) "
                "values (gen_random_uuid(), '', false, 'cus_2', 'ada')"
            )
            await harness.engine.derive()
    assert {"cus_1": None, "cus_2": "ada"} == await holders(harness)
    told_of = await losers(harness)
    assert {"cus_1"} == told_of.keys()
    assert (
        "client_reference_id of cs_1_1 claims the custom_uid ada, which belongs to cus_2" in told_of["cus_1"]
    )
    if source == "metadata":
        await harness.apply(event("customer.updated", claims("cus_2", "eve", born=2), after=60))
        assert {"cus_1": "ada", "cus_2": "eve"} == await holders(harness)
        assert {} == await losers(harness)


async def test_i13_a_link_changes_no_name_of_its_buyer(webhooks_only: Harness) -> None:
    """I13: a later payment link of a customer that the company named in a Checkout leaves it that name."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", claims("cus_1", None, born=1)),
        event("checkout.session.completed", link_session("cus_1", "ada", link=None)),
        event("checkout.session.completed", link_session("cus_1", "eve", number=2, after=9)),
    )
    assert {"cus_1": "ada"} == await holders(harness)


CROWD = """
insert into sync.uid_claims (account_id, live_mode, customer_id, custom_uid, source, object_id, customer_created)
select '', false, 'cus_crowd' || n, $1, 'metadata', 'cus_crowd' || n, to_timestamp($2) + interval '1 day'
from generate_series(1, $3::int) n
"""

ROWS_READ = """
select (select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables)
  + (select sum(idx_tup_read) from pg_stat_user_indexes)
"""


async def rows_read(harness: Harness) -> int:
    """How many rows and entries of indexes all sessions have read so far."""
    await harness.execute("select pg_stat_force_next_flush()")
    async with harness.pool.acquire() as connection:
        await connection.execute("select pg_stat_clear_snapshot()")
        return int(await connection.fetchval(ROWS_READ))


async def life_of_a_name(harness: Harness, name: str, prefix: str) -> list[int]:
    """A name is claimed by one more customer, taken by an earlier one, given up, and given up again; what each cost."""

    async def derived(*events: bytes) -> int:
        await harness.receive(*events)
        async with harness.pool.acquire() as connection:
            while await apply_batch(connection, served_mode=None, confirms=False):
                pass
            before = await rows_read(harness)
            assert 1 == await derive_batch(connection, policy=Policy())
            await connection.execute("select pg_stat_force_next_flush()")
        return await rows_read(harness) - before

    one, two, three = (f"{prefix}_{n}" for n in (1, 2, 3))
    return [
        await derived(event("customer.created", claims(two, name, born=2))),
        await derived(event("customer.created", claims(three, name, born=3))),
        await derived(event("customer.created", claims(one, name, born=1))),
        await derived(event("customer.updated", claims(one, None, born=1), after=60)),
        await derived(event("customer.updated", claims(two, "b" + name, born=2), after=60)),
    ]


async def test_i14_a_name_costs_the_same_however_many_claim_it(webhooks_only: Harness) -> None:
    """I14: deriving a customer whose name 40,000 others claim reads at most twice as many rows as one whose name a
    single other claims; and nobody else is marked stale by it.
    """
    harness = webhooks_only
    await harness.execute(CROWD, "website", float(NOON), 40_000)
    await harness.execute("analyze sync.uid_claims")
    await harness.apply(event("customer.created", claims("cus_first_seen", "website", born=4)))
    warm = await life_of_a_name(harness, "warm", "cus_w")
    few = await life_of_a_name(harness, "pair", "cus_p")
    many = await life_of_a_name(harness, "website", "cus_m")
    named = await holders(harness)
    assert ("pair", "website") == (named["cus_p_3"], named["cus_m_3"])
    assert 0 == await harness.fetchval("select count(*) from sync.customers where stale > derived")
    # Who leaves a crowd counts the rest, as far as a hundred: read in the index, and in the table.
    allowed = [2 * usual for usual in few[:3]] + [2 * usual + 2 * 101 for usual in few[3:]]
    assert all(cost <= limit for cost, limit in zip(many, allowed, strict=True)), (warm, few, many)


async def test_a_name_of_a_crowd_is_one_problem(webhooks_only: Harness) -> None:
    """Of a name that more than a hundred customers claim there is one problem, which says what it is, and none of each
    claimant; when the crowd has gone, each of those left has its own again.
    """
    harness = webhooks_only
    crowd = [f"cus_{n:03}" for n in range(103)]
    await harness.apply(
        *(event("customer.created", claims(each, "guest", born=n)) for n, each in enumerate(crowd[:100]))
    )
    assert {*crowd[1:100]} == (await losers(harness)).keys()
    await harness.apply(
        *(
            event("customer.created", claims(each, "guest", born=100 + n))
            for n, each in enumerate(crowd[100:])
        )
    )
    problems = [
        tuple(row)
        for row in await harness.fetch("select customer_id, kind, object_id, detail from sync.problems")
    ]
    assert [("", "custom_uid_crowded", "guest")] == [row[:3] for row in problems]
    assert "More than 100 customers claim the custom_uid guest" in problems[0][3]
    assert "cus_000 has it" in problems[0][3]
    assert "guest" == (await holders(harness))["cus_000"]
    # The first gives it up: the problem names the next one, and nobody else has changed.
    await harness.apply(event("customer.updated", claims("cus_000", None, born=0), after=600))
    assert "guest" == (await holders(harness))["cus_001"]
    (detail,) = [row[0] for row in await harness.fetch("select detail from sync.problems")]
    assert "cus_001 has it" in detail
    await harness.apply(
        *(
            event("customer.updated", claims(each, f"u{each}", born=n), after=600)
            for n, each in enumerate(crowd)
            if n > 98
        )
    )
    told = await losers(harness)
    assert {*crowd[2:99]} == told.keys()
    assert all("belongs to cus_001," in detail for detail in told.values())
    assert 97 == await harness.fetchval("select count(*) from sync.problems")


async def test_a_crowd_takes_no_other_problem_away(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a name becomes crowded, its claimants lose the problem with the name, and no other one."""
    harness = webhooks_only
    monkeypatch.setattr(names, "CLAIMANTS_MAX", 2)
    monkeypatch.setattr(stored_claims, "CLAIMANTS_MAX", 2)
    await harness.apply(
        *(event("customer.created", claims(f"cus_{n}", "guest", born=n)) for n in (1, 2)),
        event("customer.subscription.created", subscription("sub_2", "cus_2", status="odd")),
    )
    kinds = "select customer_id, kind from sync.problems order by 1, 2"
    assert [("cus_2", "custom_uid_taken"), ("cus_2", "status_unknown")] == [
        tuple(row) for row in await harness.fetch(kinds)
    ]
    await harness.apply(event("customer.created", claims("cus_3", "guest", born=3)))
    assert [("", "custom_uid_crowded"), ("cus_2", "status_unknown")] == [
        tuple(row) for row in await harness.fetch(kinds)
    ]


async def test_a_deleted_customer_leaves_its_name(webhooks_only: Harness) -> None:
    """The company deletes a customer and makes another one with the same name: that has it from the deletion on."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", claims("cus_1", "ada", born=1)),
        event("customer.created", claims("cus_2", "ada", born=2), after=10),
    )
    assert {"cus_1": "ada", "cus_2": None} == await holders(harness)
    await harness.apply(event("customer.deleted", claims("cus_1", "ada", born=1), after=20))
    assert {"cus_1": None, "cus_2": "ada"} == await holders(harness)
