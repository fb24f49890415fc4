"""billing.status_changes: a chain that ends where the record does, and that a read may correct."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.history import Revision, Step, revise_history
from tests.harness import NOON, Harness, customer, event, subscription

DAY = 86_400
STATUSES = [None, "trialing", "active", "past_due", "canceled", "ended"]


async def changes(harness: Harness) -> list[tuple[str | None, str | None, bool]]:
    rows = await harness.fetch(
        "select status_before, status_after, exact from billing.status_changes order by id"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def begun(harness: Harness) -> None:
    """A customer with an active subscription that was read."""
    harness.api.put(customer(), subscription())
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    assert [(None, "active", True)] == await changes(harness)


async def test_confirmation_that_agrees_keeps_the_change(harness: Harness) -> None:
    """A change that a payload showed is confirmed by the read, with its event and the time of that event."""
    await begun(harness)
    await harness.apply(
        event("customer.subscription.updated", subscription(status="past_due"), after=60, event_id="evt_due")
    )
    assert [(None, "active", True), ("active", "past_due", False)] == await changes(harness)
    harness.api.put(subscription(status="past_due"))
    await harness.settle()
    assert [(None, "active", True), ("active", "past_due", True)] == await changes(harness)
    (row,) = await harness.fetch("select * from billing.status_changes where status_after = 'past_due'")
    assert ("evt_due", "event") == (row["event_id"], row["source"])
    assert datetime.fromtimestamp(NOON + 60, tz=UTC) == row["changed_at"]


async def test_confirmation_that_disagrees_takes_it_back(harness: Harness) -> None:
    """A change that only a late payload showed goes with it when the read says otherwise."""
    await begun(harness)
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await harness.settle()
    assert [(None, "active", True)] == await changes(harness)
    assert "active" == (await harness.record())["status"]


async def test_detour_that_no_read_saw_is_taken_back(harness: Harness) -> None:
    """A history may skip states, but never has one that did not exist: only what a read saw is confirmed."""
    await begun(harness)
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await harness.apply(event("customer.subscription.updated", subscription(status="active"), after=90))
    await harness.settle()
    assert [(None, "active", True)] == await changes(harness)


async def test_confirmation_with_a_third_state(harness: Harness) -> None:
    """If the read finds a state that no payload showed, the provisional steps go and the true one comes."""
    await begun(harness)
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    harness.api.put(subscription(status="canceled", ended_at=NOON + 70))
    await harness.settle()
    assert [(None, "active", True), ("active", "ended", True)] == await changes(harness)


async def test_link_of_one_who_has_a_record_already_is_no_change(harness: Harness) -> None:
    """Somebody whom the company knew, with a record, is linked to a customer of Stripe's, which has one, too: its
    history goes on under the other uid, without a step.
    """
    await begun(harness)
    uid = await harness.fetchval(
        "insert into billing.identities (live_mode, custom_uid) values (false, 'ada') returning uid"
    )
    await harness.settle()
    await harness.execute(
        "update billing.identities set stripe_customer_id = $2 where uid = $1", uid, customer()["id"]
    )
    await harness.settle()
    assert [(None, "active", True)] == await changes(harness)
    assert uid == await harness.fetchval("select customer_uid from billing.status_changes")
    assert ("active", "ada") == tuple(
        (await harness.fetch("select status, custom_uid from billing.customers"))[0]
    )


async def test_chain_is_unbroken_while_everything_moves(harness: Harness) -> None:
    """After every event and every read the chain begins at none, has no gap, and ends at the record's status."""
    await begun(harness)
    told = ["past_due", "active", "unpaid", "active", "trialing", "past_due", "canceled", "active"]
    real = ["active", "active", "past_due", "active", "active", "past_due", "canceled", "canceled"]
    for second, (payload, state) in enumerate(zip(told, real, strict=True), start=1):
        harness.api.put(subscription(status=state))
        await harness.apply(
            event("customer.subscription.updated", subscription(status=payload), after=60 * second)
        )
        if second % 2:
            await harness.confirm()
        chain = await changes(harness)
        assert chain[0][0] is None
        assert all(left[1] == right[0] for left, right in pairwise(chain)), chain
        assert chain[-1][1] == (await harness.record())["status"]
        exact = [step[2] for step in chain]
        assert sorted(exact, reverse=True) == exact, "what is confirmed stands before what is not"
    await harness.settle()
    assert ("ended", True) == (
        (await harness.record())["status"],
        all(step[2] for step in await changes(harness)),
    )


async def told(harness: Harness) -> list[tuple[str | None, float, str | None, str]]:
    """What each change led to, how many days after NOON, by which event, and what noticed it."""
    rows = await harness.fetch("select * from billing.status_changes order by id")
    return [
        (row["status_after"], (row["changed_at"].timestamp() - NOON) / DAY, row["event_id"], row["source"])
        for row in rows
    ]


A = subscription("sub_a")
B = subscription("sub_b", cancel_at=NOON + 300 * DAY)
A_ENDED = A | {"status": "canceled", "ended_at": NOON + 55 * DAY, "canceled_at": NOON + 55 * DAY}


async def two(harness: Harness) -> None:
    """One subscription that goes on, and one, begun ten days later, whose end is scheduled."""
    harness.api.put(customer(), A, B)
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.created", A, event_id="evt_a"),
        event("customer.subscription.created", B, after=10 * DAY, event_id="evt_b"),
    )
    await harness.settle()
    assert [("active", 0, "evt_a", "event")] == await told(harness), "the second changed nothing"


async def test_end_is_dated_by_its_own_event(harness: Harness) -> None:
    """A ends, and B, which had no event for weeks, decides from then on: the end of A is what happened."""
    await two(harness)
    harness.api.put(A_ENDED)
    await harness.apply(event("customer.subscription.deleted", A_ENDED, after=55 * DAY, event_id="evt_end"))
    ended = ("canceled", 55, "evt_end", "event")
    assert ended == (await told(harness))[-1]
    await harness.settle()
    assert [("active", 0, "evt_a", "event"), ended] == await told(harness)


async def test_change_that_is_told_again_is_dated_by_any_of_them(harness: Harness) -> None:
    """B was shown to decide, then a read finds another state: A's event was the last, and B's an old one."""
    await two(harness)
    harness.api.put(A_ENDED, B | {"status": "past_due"})
    await harness.apply(
        event("customer.subscription.updated", B, after=20 * DAY, event_id="evt_b_again"),
        event(
            "customer.subscription.updated", A | {"status": "past_due"}, after=54 * DAY, event_id="evt_due"
        ),
    )
    assert ("canceled", 54, "evt_due", "event") == (await told(harness))[-1]
    await harness.settle()
    assert [("active", 0, "evt_a", "event"), ("past_due", 54, "evt_due", "event")] == await told(harness)


async def test_end_that_no_event_told_is_dated_when_it_was_seen(harness: Harness) -> None:
    """An audit finds the end of A: B's last event, which is weeks old, did not announce it."""
    await two(harness)
    harness.api.put(A_ENDED)
    before = (datetime.now(UTC).timestamp() - NOON) / DAY
    await harness.execute(
        "update sync.objects set dirty = nextval('sync.tick'), read_at = now(), source = 'audit' where id = 'sub_a'"
    )
    await harness.settle()
    status, seen, _, source = (await told(harness))[-1]
    assert ("canceled", "audit") == (status, source)
    assert before - 1 < seen


async def test_deleted_customer_ends_with_its_own_event(harness: Harness) -> None:
    """Its subscription's last event may be weeks old, and the one of its end never come."""
    await begun(harness)
    gone = {"object": "customer", "id": "cus_1", "deleted": True}
    harness.api.put(gone)
    await harness.apply(event("customer.deleted", customer(), after=70 * DAY, event_id="evt_gone"))
    await harness.settle()
    assert ("ended", 70, "evt_gone", "event") == (await told(harness))[-1]


async def test_times_never_go_back(harness: Harness) -> None:
    """News that comes late is dated no earlier than the last entry: a day has one status."""
    await two(harness)
    await harness.execute(
        "update billing.status_changes set changed_at = to_timestamp($1)", float(NOON + 60 * DAY)
    )
    harness.api.put(A_ENDED)
    await harness.apply(event("customer.subscription.deleted", A_ENDED, after=55 * DAY))
    await harness.settle()
    assert [("active", 60), ("canceled", 60)] == [each[:2] for each in await told(harness)]


def steps(*statuses: str | None) -> list[Step[str | None]]:
    """A provisional tail through these statuses."""
    return [
        Step(id=number, before=before, after=after)
        for number, (before, after) in enumerate(pairwise(statuses), start=1)
    ]


@pytest.mark.parametrize(
    ("tail", "before", "status", "exact", "expected"),
    [
        ((), None, None, False, Revision(taken_back=(), confirmed=(), appended=None)),
        ((), None, "active", False, Revision(taken_back=(), confirmed=(), appended=(None, "active"))),
        ((), None, "active", True, Revision(taken_back=(), confirmed=(), appended=(None, "active"))),
        ((), "active", "active", True, Revision(taken_back=(), confirmed=(), appended=None)),
        ((), "active", None, True, Revision(taken_back=(), confirmed=(), appended=("active", None))),
        (("a", "b"), "b", "c", False, Revision(taken_back=(), confirmed=(), appended=("b", "c"))),
        (("a", "b"), "b", "b", False, Revision(taken_back=(), confirmed=(), appended=None)),
        (("a", "b"), "b", "b", True, Revision(taken_back=(), confirmed=(1,), appended=None)),
        (("a", "b"), "b", "a", True, Revision(taken_back=(1,), confirmed=(), appended=None)),
        (("a", "b"), "b", "c", True, Revision(taken_back=(1,), confirmed=(), appended=("a", "c"))),
        (("a", "b", "c"), "c", "b", True, Revision(taken_back=(2,), confirmed=(1,), appended=None)),
        (("a", "b", "c"), "c", "c", True, Revision(taken_back=(1, 2), confirmed=(), appended=("a", "c"))),
        (("a", "b", "a"), "a", "a", True, Revision(taken_back=(1, 2), confirmed=(), appended=None)),
        ((None, "a"), "a", None, True, Revision(taken_back=(1,), confirmed=(), appended=None)),
    ],
)
def test_revisions(
    tail: tuple[str | None, ...],
    before: str | None,
    status: str | None,
    exact: bool,
    expected: Revision[str | None],
) -> None:
    """What becomes of a provisional tail, case by case."""
    assert expected == revise_history(steps(*tail), before=before, now=status, exact=exact)


@given(
    records=st.lists(st.tuples(st.sampled_from(STATUSES), st.booleans()), max_size=12),
)
def test_revised_history_is_always_a_chain(records: list[tuple[str | None, bool]]) -> None:
    """Through any sequence of records the history stays a chain from none to the latest status, its confirmed part
    first; and an exact record leaves nothing unconfirmed.
    """
    history: list[tuple[int, str | None, str | None, bool]] = []
    numbers = iter(range(1, 1000))
    before: str | None = None
    for status, exact in records:
        tail = [Step(id=i, before=b, after=a) for i, b, a, confirmed in history if not confirmed]
        if before != status or (tail and exact):
            revision = revise_history(tail, before=before, now=status, exact=exact)
            assert not set(revision.taken_back) & set(revision.confirmed)
            history = [
                (i, b, a, confirmed or i in revision.confirmed)
                for i, b, a, confirmed in history
                if i not in revision.taken_back
            ]
            if revision.appended is not None:
                history.append((next(numbers), *revision.appended, exact))
        before = status
        ends = [None, *(after for _, _, after, _ in history)]
        assert [b for _, b, _, _ in history] == ends[:-1], "a chain from none"
        assert status == ends[-1]
        assert all(b != a for _, b, a, _ in history)
        confirmed = [each[3] for each in history]
        assert sorted(confirmed, reverse=True) == confirmed
        assert not exact or all(confirmed)
