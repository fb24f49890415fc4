"""A custom_uid belongs to one customer: the earliest at Stripe, in whatever order the claims are derived."""

import asyncio
import itertools

import pytest

from billing.status import Policy
from db.connection import Pool
from tests.harness import NOON, Body, Harness, customer, event
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
