"""The steps of a scan: their order, written once as a table, and what the steps have in common."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from billing.kinds.found import ObjectRef
from billing.kinds.lists import PER_CUSTOMER
from billing.record import Policy
from db.connection import Connection, Pool
from db.sync.coverage import Hole
from db.sync.scans import LISTS_STEP, Scan, move_scan
from runtime.stripe_api import StripeApi

BEGINNING = datetime(2010, 1, 1, tzinfo=UTC)
"""Older than any object of Stripe. An account does not reliably say when it was created."""
HOLES_NAMED_MAX = 5
READS_AT_ONCE = 16
"""Concurrent reads by id of one step, as many as a lane has under way: more would have to wait for a second round."""
CUSTOMERS_AT_ONCE = 500
HOLD = timedelta(seconds=30)
"""How long a step keeps its lease with each note of its progress."""


# The table


class Step(StrEnum):
    """Where a scan is: the values of sync.scans.step."""

    BEGIN = "begin"
    LISTS = LISTS_STEP
    """Its windows are claimed, page by page; once all are read, the scan itself is claimed and goes on."""
    CUSTOMER = "customer"
    ENTITLEMENTS = "entitlements"
    REFERENCES = "references"
    CLOCKS = "clocks"
    CUSTOMERS = "customers"
    CLOCK_HISTORIES = "clock histories"
    READS = "reads"
    RECORDS = "records"
    SECOND_LOOK = "second look"
    REPAIR = "repair"
    REPAIR_CHARGES = "repair charges"
    REPAIR_PARTS = "repair parts"
    REPAIR_RECORDS = "repair records"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of one kind of scan, in their order. The last one ends it."""

    steps: tuple[Step, ...]
    skippable: frozenset[Step] = frozenset()
    """A scan that gives one of these up goes on with the next step; one that gives up any other ends."""
    if_canceled: Step | None = None
    """What a scan that is canceled before this step still has to do, since it has stored something. None: nothing."""


_COMPARE = (Step.READS, Step.RECORDS, Step.SECOND_LOOK)
_REPAIR = (Step.REPAIR, Step.REPAIR_CHARGES, Step.REPAIR_PARTS, Step.REPAIR_RECORDS)

BACKFILL = Plan(
    steps=(
        Step.BEGIN,
        Step.LISTS,
        Step.ENTITLEMENTS,
        Step.REFERENCES,
        Step.CLOCKS,
        Step.CUSTOMERS,
        Step.CLOCK_HISTORIES,
    ),
    skippable=frozenset({Step.ENTITLEMENTS, Step.REFERENCES, Step.CLOCKS}),
    if_canceled=Step.CUSTOMERS,
)
"""Everything, from the beginning until now."""
BACKFILL_OF_KINDS = Plan(steps=(Step.BEGIN, Step.LISTS))
"""Some kinds, or a stretch of time: no customer is complete by it."""
BACKFILL_OF_ENTITLEMENTS = Plan(steps=(Step.BEGIN, Step.LISTS, Step.ENTITLEMENTS, Step.DONE))
"""The same, with features among the kinds."""
BACKFILL_OF_CUSTOMER = Plan(steps=(Step.BEGIN, Step.CUSTOMER), if_canceled=Step.CUSTOMER)
AUDIT = Plan(steps=(Step.BEGIN, Step.LISTS, Step.CLOCKS, Step.ENTITLEMENTS, *_COMPARE, Step.DONE))
REPAIRING_AUDIT = Plan(steps=(*AUDIT.steps[:-1], *_REPAIR, Step.DONE))
AUDIT_OF_KINDS = Plan(steps=(Step.BEGIN, Step.LISTS, *_COMPARE, Step.DONE))
"""Some kinds, or a stretch of time."""
REPAIRING_AUDIT_OF_KINDS = Plan(steps=(*AUDIT_OF_KINDS.steps[:-1], *_REPAIR, Step.DONE))

TEST_MODE_STEPS = frozenset({Step.CLOCKS, Step.CLOCK_HISTORIES})
"""Left out in live mode, which has no test clocks."""
FAILING_STEPS = frozenset({Step.BEGIN, Step.CUSTOMER})
"""A scan that gives one of these up has read nothing: it has failed. One that gives up any other is partial."""

_FEATURE = PER_CUSTOMER["active_entitlement_summary"]


def plan_of(scan: Scan) -> Plan:
    """The plan that a scan follows."""
    if scan.purpose == "audit":
        if scan.whole:
            return REPAIRING_AUDIT if scan.repair else AUDIT
        return REPAIRING_AUDIT_OF_KINDS if scan.repair else AUDIT_OF_KINDS
    if scan.customer_id is not None:
        return BACKFILL_OF_CUSTOMER
    if scan.whole:
        return BACKFILL
    return BACKFILL_OF_ENTITLEMENTS if _FEATURE in scan.kinds else BACKFILL_OF_KINDS


def next_step(scan: Scan) -> Step | None:
    """The step after the one that a scan is at; None after the last."""
    steps = [step for step in plan_of(scan).steps if not (scan.live_mode and step in TEST_MODE_STEPS)]
    place = steps.index(Step(scan.step))
    return steps[place + 1] if place + 1 < len(steps) else None


def step_after_failure(scan: Scan) -> Step | None:
    """The step that a scan goes on with when it gives up its own; None: it ends."""
    if scan.status != "running" or scan.step not in plan_of(scan).skippable:
        return None
    return next_step(scan)


def step_of(scan: Scan) -> Step | None:
    """What a scan does next: the step that it is at, or what is left to do when it is canceled; None: it ends."""
    if scan.status == "running":
        return Step(scan.step)
    plan = plan_of(scan)
    if plan.if_canceled is None or scan.step == Step.BEGIN:
        return None
    return max(Step(scan.step), plan.if_canceled, key=plan.steps.index)


# What steps share


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a worker lends to the steps of scans for one turn. `over` says when the turn's time is up."""

    pool: Pool
    stripe: StripeApi
    policy: Policy
    derive: Callable[[], Awaitable[int]]
    over: Callable[[], bool]

    async def go_on(self, scan: Scan) -> None:
        """`go_on`, outside of a transaction."""
        async with self.pool.acquire() as connection:
            await go_on(connection, scan)

    async def stay(self, scan: Scan, *, cursor: str, wait: timedelta = timedelta(0)) -> None:
        """`stay`, outside of a transaction."""
        async with self.pool.acquire() as connection:
            await stay(connection, scan, cursor=cursor, wait=wait)


class Place(NamedTuple):
    """How far a step is that goes over its objects in rounds: the round, and the last object that is done."""

    round: int = 0
    after: ObjectRef = ObjectRef("", "")

    @classmethod
    def of(cls, scan: Scan) -> "Place":
        """The place that the scan's cursor notes."""
        round_, _, after = scan.step_cursor.partition(" ")
        kind, _, object_id = after.partition(" ")
        return cls(int(round_ or 0), ObjectRef(kind, object_id))

    @property
    def cursor(self) -> str:
        """The place as a step's cursor."""
        return " ".join((str(self.round), *self.after)).rstrip()

    def next_round(self) -> "Place":
        """The beginning of the next round."""
        return Place(self.round + 1)


async def go_on(connection: Connection, scan: Scan) -> None:
    """Move a scan to its next step, which is due at once."""
    step = next_step(scan)
    if step is None:
        raise ValueError(f"no step of scan {scan.id} follows {scan.step!r}")
    await move_scan(connection, scan.id, step=step)


async def stay(
    connection: Connection, scan: Scan, *, cursor: str = "", wait: timedelta = timedelta(0)
) -> None:
    """Note how far the scan's step is, and when to go on with it."""
    await move_scan(connection, scan.id, step=scan.step, cursor=cursor, wait=wait)


def bounds_of(scan: Scan, horizon: datetime) -> tuple[datetime, datetime]:
    """The stretch of `created` that a scan covers, [low, high). Stripe's seconds are whole: so is the last one."""
    end = horizon.replace(microsecond=0) + timedelta(seconds=1)
    return scan.since or BEGINNING, end if scan.until is None else min(scan.until, end)


def say_holes(holes: list[Hole]) -> str:
    """Which kinds and stretches were not read to their end, and why."""
    said = [
        f"{hole.kind} created from {hole.low:%Y-%m-%d %H:%M:%S} to {hole.high:%Y-%m-%d %H:%M:%S} UTC: {hole.error}"
        for hole in holes[:HOLES_NAMED_MAX]
    ]
    if len(holes) > HOLES_NAMED_MAX:
        said.append(f"and {len(holes) - HOLES_NAMED_MAX} more")
    return "; ".join(said)
