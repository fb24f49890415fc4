"""billing.status_changes: a chain that ends where the record does, and that a read may correct."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subledger.billing.history import Revision, Step, revise_history
from tests.worker.room import NOON, Room, customer, event, subscription

STATUSES = [None, "trialing", "active", "past_due", "canceled", "ended"]


async def changes(room: Room) -> list[tuple[str | None, str | None, bool]]:
    rows = await room.fetch(
        "select status_before, status_after, exact from billing.status_changes order by id"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def begun(room: Room) -> None:
    """A customer whose active subscription was read."""
    room.api.put(customer(), subscription())
    await room.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await room.settle()
    assert [(None, "active", True)] == await changes(room)


async def test_confirmation_that_agrees_keeps_the_change(room: Room) -> None:
    """A change that a payload showed is confirmed by the read, with its event and the time of that event."""
    await begun(room)
    await room.apply(
        event("customer.subscription.updated", subscription(status="past_due"), after=60, event_id="evt_due")
    )
    assert [(None, "active", True), ("active", "past_due", False)] == await changes(room)
    room.api.put(subscription(status="past_due"))
    await room.settle()
    assert [(None, "active", True), ("active", "past_due", True)] == await changes(room)
    (row,) = await room.fetch("select * from billing.status_changes where status_after = 'past_due'")
    assert ("evt_due", "event") == (row["event_id"], row["source"])
    assert datetime.fromtimestamp(NOON + 60, tz=UTC) == row["changed_at"]


async def test_confirmation_that_disagrees_takes_it_back(room: Room) -> None:
    """A change that only a late payload showed goes with it when the read says otherwise."""
    await begun(room)
    await room.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await room.settle()
    assert [(None, "active", True)] == await changes(room)
    assert "active" == (await room.record())["status"]


async def test_detour_that_no_read_saw_is_taken_back(room: Room) -> None:
    """A history may skip what was lived through, and never tells what was not: only what a read saw is confirmed."""
    await begun(room)
    await room.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await room.apply(event("customer.subscription.updated", subscription(status="active"), after=90))
    await room.settle()
    assert [(None, "active", True)] == await changes(room)


async def test_confirmation_with_a_third_state(room: Room) -> None:
    """Where the read tells of a state that no payload showed, the provisional steps go and the true one comes."""
    await begun(room)
    await room.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    room.api.put(subscription(status="canceled", ended_at=NOON + 70))
    await room.settle()
    assert [(None, "active", True), ("active", "ended", True)] == await changes(room)


async def test_chain_is_unbroken_while_everything_moves(room: Room) -> None:
    """After every event and every read the chain begins at none, has no gap, and ends at the record's status."""
    await begun(room)
    told = ["past_due", "active", "unpaid", "active", "trialing", "past_due", "canceled", "active"]
    real = ["active", "active", "past_due", "active", "active", "past_due", "canceled", "canceled"]
    for second, (payload, state) in enumerate(zip(told, real, strict=True), start=1):
        room.api.put(subscription(status=state))
        await room.apply(
            event("customer.subscription.updated", subscription(status=payload), after=60 * second)
        )
        if second % 2:
            await room.confirm()
        chain = await changes(room)
        assert chain[0][0] is None
        assert all(left[1] == right[0] for left, right in pairwise(chain)), chain
        assert chain[-1][1] == (await room.record())["status"]
        exact = [step[2] for step in chain]
        assert sorted(exact, reverse=True) == exact, "what is confirmed stands before what is not"
    await room.settle()
    assert ("ended", True) == ((await room.record())["status"], all(step[2] for step in await changes(room)))


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
