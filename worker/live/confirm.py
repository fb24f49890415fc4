"""Confirm: read from Stripe what is dirty, and store the answer through the fence.

The tick of a read is drawn, and committed with its lease, before its request leaves: so a stored answer was asked for
after every change that an older mark announced (ARCHITECTURE.md, the fence).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import asyncpg
import structlog

from billing.kinds.registry import KINDS
from db.connection import Connection, Pool, PostgresAway
from db.keys import Key, Scope
from db.sync.accounts import clear_alarms, clear_key_alarms, object_refused, parts_refused, raise_alarm
from db.sync.customers import mark_stale
from db.sync.due_reads import DueRead, claim_reads, defer_reads
from db.sync.inbox import SignedEvent, record_events
from db.sync.not_understood import note_not_understood
from db.sync.objects import FailedRead, UnreadTwin, postpone_reads
from db.sync.refusals import Refusal, note_refusal, select_refusals, take_probe
from db.sync.stretches import select_awaited
from runtime.retry import backoff_seconds, retry_conflicts
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from runtime.traces import tracing
from worker.leases import Held, holding
from worker.live.answers import Answered
from worker.live.closed import end_refusal, kind_refused, say_closed, say_forbidden
from worker.live.fence import judge_absence, judge_absent, store_safely
from worker.live.reads import NotUnderstood, read_whole
from worker.live.stretches import Stretch, keys_inside, plan_reads, read_prices, read_stretch
from worker.live.traced import trace_confirmed
from worker.live.twins import read_twins

BATCH = 200
LEASE = timedelta(seconds=90)
CLAIM_EVERY_SECONDS = 0.2
"""How often all workers together look for more, if less was due than could be read: the more of them look, the fewer
objects each finds, and so the fewer come with one page of a list."""
CLAIM_EVERY_SECONDS_MAX = 1.0
STORED_TOGETHER_SECONDS = 0.1
"""How long answers wait for others that are under way, to be stored with them: a transaction costs as much as the
storing of some twenty objects."""
TOLD_TOGETHER_SECONDS = 1.0
"""While more is due than can be read, it is told so much apart that something was stored: most of what comes concerns
customers of whom something has just come."""
ODD_ALARMS_AT_ONCE = 5
"""Of one group of answers: a kind whose every read is refused would bury the other alarms."""

log = structlog.get_logger()


async def confirm_batch(
    pool: Pool,
    stripe: StripeApi,
    *,
    live_mode: bool,
    limit: int = BATCH,
    stored: Callable[[], None] = lambda: None,
    more: Callable[[], bool] = lambda: False,
    held: Held[DueRead] | None = None,
) -> tuple[int, bool]:
    """Read what is due and store what came, in groups as the answers arrive; `stored` is called after each group, while
    reads flood in less often, and after the last.

    While `more` says so, further reads are begun as others end, so that one that takes long keeps none waiting.

    Returns how many reads were begun, and whether Stripe refused the key or did not know an object that we know.
    `held` notes the reads while they are under way.
    """
    turn = _Turn(pool, stripe, live_mode=live_mode)
    loop, told_at, untold = asyncio.get_running_loop(), float("-inf"), False
    with holding(held, turn.under_way):
        try:
            await turn.begin(limit)
            while turn.tasks:
                goes_on = more() and not turn.refused
                if await turn.store_what_comes(wait_seconds=CLAIM_EVERY_SECONDS if goes_on else None):
                    untold = turn.is_flooded and loop.time() - told_at < TOLD_TOGETHER_SECONDS
                    if not untold:
                        told_at = loop.time()
                        stored()
                if goes_on and len(turn.under_way) <= limit // 2:
                    await turn.begin_more(limit - len(turn.under_way))
            if untold:
                stored()
        finally:
            await turn.end()
    return turn.begun, turn.refused


def claim_every_seconds(part: float) -> float:
    """How often a worker with this part of the limits looks for reads that are due, if there are few."""
    return min(CLAIM_EVERY_SECONDS / max(part, CLAIM_EVERY_SECONDS), CLAIM_EVERY_SECONDS_MAX)


class _Turn:
    """Reads that are under way, by their ids and by pages of lists."""

    def __init__(self, pool: Pool, stripe: StripeApi, *, live_mode: bool) -> None:
        self._pool = pool
        self._stripe = stripe
        self._live_mode = live_mode
        self._refusals: Sequence[Refusal] = ()
        self._inside: dict[Key, list[DueRead]] = {}
        self._claimed_at = float("-inf")
        self._begun_ns: dict[Key, int] = {}
        """When reads were begun, while traces are on."""
        self.tasks: set[asyncio.Task[_Outcome]] = set()
        self.under_way: list[DueRead] = []
        """What is to be given back if the worker has to stop."""
        self.begun = 0
        self.is_flooded = False
        """Whether more was due than could be claimed."""
        self.refused = False

    async def begin(self, limit: int) -> None:
        """Claim reads that are due, and send their requests. If few were due a moment ago, none are claimed."""
        now = asyncio.get_running_loop().time()
        if now - self._claimed_at < claim_every_seconds(self._stripe.budget.part):
            return
        async with self._pool.acquire() as connection:
            due = await claim_reads(
                connection, kinds=list(KINDS), live_mode=self._live_mode, limit=limit, lease=LEASE
            )
            self.is_flooded = len(due) == limit
            if not self.is_flooded:
                self._claimed_at = now
            # A read that takes longer than its lease is claimed again, which prolongs the lease.
            reading = {read.key for read in self.under_way}
            due = [read for read in due if read.key not in reading]
            if not due:
                return
            self.begun += len(due)
            self.under_way += due
            if tracing() is not None:
                self._begun_ns |= dict.fromkeys((read.key for read in due), time.time_ns())
            self._refusals = await select_refusals(connection, live_mode=self._live_mode)
            if self._refusals:
                asked = await _without_refused(connection, due, self._refusals, live_mode=self._live_mode)
                self._forget({read.key for read in due} - {read.key for read in asked})
                due = asked
            plan = await plan_reads(connection, due, unlistable=self._stripe.unlistable)
            if plan.deferred:
                await retry_conflicts(lambda: defer_reads(connection, plan.deferred))
                self._forget({read.key for read, _ in plan.deferred})
        for holder, reads in plan.inside.items():
            self._inside.setdefault(holder, []).extend(reads)
        self._read_alone(plan.alone)
        for stretch in plan.stretches:
            self._start(_read_page(self._pool, self._stripe, stretch))
        for products in plan.products:
            self._start(_list_prices(self._pool, self._stripe, products))

    async def begin_more(self, limit: int) -> None:
        """The same beside reads that are under way: should Postgres be away, their answers still wait for it."""
        try:
            await self.begin(limit)
        except PostgresAway:
            if not self.tasks:
                raise

    def _read_alone(self, reads: Iterable[DueRead]) -> None:
        for each in reads:
            self._start(_read(self._stripe, each))

    def _start(self, work: Coroutine[None, None, "_Outcome"]) -> None:
        self.tasks.add(asyncio.create_task(work))

    def _forget(self, keys: Container[Key]) -> None:
        self.under_way[:] = [read for read in self.under_way if read.key not in keys]

    async def store_what_comes(self, *, wait_seconds: float | None) -> bool:
        """Wait for answers, store them, and send the requests that follow from them; False if none came in time."""
        done, self.tasks = await asyncio.wait(
            self.tasks, return_when=asyncio.FIRST_COMPLETED, timeout=wait_seconds
        )
        if not done:
            return False
        if self.tasks:
            more, self.tasks = await asyncio.wait(self.tasks, timeout=STORED_TOGETHER_SECONDS)
            done |= more
        outcomes = [task.result() for task in done]
        answers = [answer for each in outcomes for answer in each.answers]
        failures = [failure for each in outcomes for failure in each.failures]
        others = {answer.key: answer for each in outcomes for answer in each.others}
        read = {answer.key for answer in answers} | {failure.key for failure in failures}
        self.refused = self.refused or any(failure.missing or failure.refused for failure in failures)
        async with self._pool.acquire() as connection:
            if twins := [event for each in outcomes for event in each.twins]:
                await record_events(connection, twins)
            if any(failure.absent for failure in failures):
                gone, failures = await judge_absent(connection, failures)
                answers += gone
            if others:
                awaited = await select_awaited(connection, list(others))
                answers += [others[key] for key in awaited - read]
            doubted = await store_safely(connection, answers, source="event")
            lacking = self._ask_for_twins(answers, doubted)
            failures += [failure for failure in doubted if failure.key not in lacking]
            if failures:
                await retry_conflicts(lambda: _postpone(connection, failures))
            await _say_refused(connection, self._stripe, answers, failures)
            if self._refusals:
                await retry_conflicts(lambda: _say_readable(connection, answers, self._refusals))
            read -= lacking
            if (traces := tracing()) is not None:
                ended = {key: self._begun_ns.pop(key) for key in read if key in self._begun_ns}
                failed = {failure.key: failure.error for failure in failures}
                await trace_confirmed(connection, traces, ended, failed)
        self._forget(read)
        for each in outcomes:
            self._read_alone(each.unshown)
            for product in each.priced:
                prices = tuple(each.prices.get(product.key.id, ()))
                self._start(_read(self._stripe, product, prices=prices))
            if each.rest is not None:
                self._start(_read_page(self._pool, self._stripe, each.rest))
        self._read_what_did_not_come(read, answers, failures)
        return True

    def _ask_for_twins(self, answers: Iterable[Answered], doubted: Iterable[FailedRead]) -> set[Key]:
        """Ask for what would say whether these answers are late, and judge them again then; returns their keys."""
        twins = {failure.key: failure.twins for failure in doubted if failure.twins}
        lacking: defaultdict[Scope, list[Answered]] = defaultdict(list)
        for answer in answers:
            if answer.key in twins and not answer.twins_asked:
                lacking[answer.key.scope].append(answer)
        for scope, group in lacking.items():
            wanted = [twin for answer in group for twin in twins[answer.key]]
            self._start(_read_twins(self._stripe, scope, group, wanted))
        return {answer.key for group in lacking.values() for answer in group}

    def _read_what_did_not_come(
        self, read: Iterable[Key], answers: Iterable[Answered], failures: Iterable[FailedRead]
    ) -> None:
        """What was to come inside these answers, and did not, is read by its id."""
        holders = [key for key in read if key in self._inside]
        if not holders:
            return
        failed = {failure.key for failure in failures}
        came = {key for answer in answers if answer.key not in failed for key in keys_inside(answer)}
        for holder in holders:
            expected = self._inside.pop(holder)
            self._forget({each.key for each in expected if each.key in came})
            self._read_alone(each for each in expected if each.key not in came)

    async def end(self) -> None:
        """Give up what is under way."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a request has brought."""

    answers: Sequence[Answered] = ()
    failures: Sequence[FailedRead] = ()
    others: Sequence[Answered] = ()
    """Of a page: about objects that were not asked for."""
    rest: Stretch | None = None
    unshown: Sequence[DueRead] = ()
    priced: Sequence[DueRead] = ()
    """Products of which all prices are listed."""
    prices: Mapping[str | None, Sequence[Answered]] = field(default_factory=dict)
    twins: Sequence[SignedEvent] = ()
    """Snapshot events, with which the answers are judged again."""


async def _without_refused(
    connection: Connection, due: Sequence[DueRead], refusals: Sequence[Refusal], *, live_mode: bool
) -> list[DueRead]:
    """The reads of which Stripe does not refuse everything, and now and then one of the others, to ask again. The rest
    wait for its answer.
    """
    asked, held, may_probe = [], [], {}
    for each in due:
        refusal = next((one for one in refusals if one.covers(each.key)), None)
        if refusal is None:
            asked.append(each)
            continue
        if refusal not in may_probe:
            may_probe[refusal] = await take_probe(connection, refusal, live_mode=live_mode)
        if may_probe[refusal]:
            may_probe[refusal] = False
            asked.append(each)
            continue
        wait = timedelta(seconds=max(refusal.seconds_to_probe, 5.0))
        held.append(FailedRead(key=each.key, tick=each.tick, error=refusal.error, retry_after=wait))
    if held:
        # Their customers are not exact already.
        await retry_conflicts(lambda: postpone_reads(connection, held))
    return asked


async def _say_refused(
    connection: Connection, stripe: StripeApi, answers: list[Answered], failures: list[FailedRead]
) -> None:
    """Alarm about what Stripe refuses, with the remedy, and take the alarms back once it does not."""
    if answers:
        whole = [answer.key for answer in answers if not answer.left_out]
        names = {name(key) for key in whole for name in (kind_refused, expansion_refused, parts_refused)}
        names |= {object_refused(answer.key) for answer in answers}
        await clear_alarms(connection, names)
        await clear_key_alarms(connection)
    if gone := {
        name(each.key) for each in failures if each.absent for name in (object_refused, parts_refused)
    }:
        await clear_alarms(connection, gone)
    without = [each for each in answers if each.left_out]
    of_kind = {each.key for each in without if stripe.expansions.refused(each.key.account_id, each.key.kind)}
    named = {
        (expansion_refused if each.key in of_kind else parts_refused)(each.key): each for each in without
    }
    for name, answer in sorted(named.items())[:ODD_ALARMS_AT_ONCE]:
        said = f"Stripe refuses {', '.join(answer.left_out)} of {answer.key.kind} {answer.key.id}: it is read without"
        remedy = "see that STRIPE_API_BASE is Stripe's API and that the key may read all that belongs to it"
        await raise_alarm(connection, name, said, remedy=remedy, account_id=answer.key.account_id)
    # A key that Stripe does not know lacks no right: the alarm `api key` says what is wrong.
    for failure in {kind_refused(each.key): each for each in failures if each.forbidden}.values():
        if failure.closed:
            await say_closed(connection, failure.key.scope, object_id=failure.key.id, error=failure.error)
            continue
        key = failure.key
        await say_forbidden(connection, key, error=failure.error)
        await note_refusal(connection, key.scope, kind=key.kind, object_id=key.id, error=failure.error)
    for failure in [each for each in failures if each.odd][:ODD_ALARMS_AT_ONCE]:
        key = failure.key
        said = f"Stripe refuses to answer about {key.kind} {key.id}, so its customer stays inexact ({failure.error})"
        remedy = f"look at it in Stripe's Dashboard, then `subledger events replay {key.id}`"
        await raise_alarm(connection, object_refused(key), said, remedy=remedy, account_id=key.account_id)


async def _say_readable(connection: Connection, answers: list[Answered], refusals: Sequence[Refusal]) -> None:
    """A probe was answered: what waited for it is due now."""
    for refusal in refusals:
        answered = [each.key for each in answers if refusal.covers(each.key)]
        if answered:
            await end_refusal(connection, answered[0].scope, refusal.kind)


def expansion_refused(key: Key) -> str:
    return f"parts of {key.kind} refused {key.account_id}".strip()


async def _postpone(connection: Connection, failures: list[FailedRead]) -> None:
    async with connection.transaction():
        stale = await postpone_reads(connection, failures)
        owners = {failure.key: failure.owner for failure in failures if failure.owner is not None}
        await note_not_understood(connection, owners)
        if stale:
            await mark_stale(connection, list(set(stale)))


async def _read_page(pool: Pool, stripe: StripeApi, stretch: Stretch) -> _Outcome:
    """One page of a stretch. If Stripe refuses the list, what it was to show is read by its ids."""
    try:
        page = await read_stretch(pool, stripe, stretch)
    except StripeUnavailable as unavailable:
        return _Outcome(failures=[_unavailable(due, unavailable) for due in stretch.reads])
    except (*PostgresAway, asyncpg.PostgresError):
        raise
    except Exception as error:  # noqa: BLE001 - the reads by id say what is wrong, each for itself (I7)
        log.warning(
            "list not read, its objects are read by their ids", kind=stretch.kind.name, error=str(error)
        )
        # Only what is said of the list itself: a right, a key or an account may be given back.
        of_list = isinstance(error, StripeMissing) or (
            isinstance(error, StripeRefused) and error.status == 400
        )
        if stretch.after is None and of_list:
            stripe.unlistable.add((stretch.scope.account_id, stretch.kind.name))
        return _Outcome(unshown=stretch.reads)
    return _Outcome(answers=page.answers, others=page.others, rest=page.rest, unshown=page.unshown)


async def _list_prices(pool: Pool, stripe: StripeApi, products: Sequence[DueRead]) -> _Outcome:
    """The prices of one account, for several of its products. If they cannot be listed, each product's are by
    themselves, and say what is wrong.
    """
    try:
        prices = await read_prices(pool, stripe, products[0].key.scope)
    except StripeUnavailable as unavailable:
        return _Outcome(failures=[_unavailable(due, unavailable) for due in products])
    except (*PostgresAway, asyncpg.PostgresError):
        raise
    except Exception as error:  # noqa: BLE001 - the reads by id say what is wrong, each for itself (I7)
        log.warning("prices not listed, each product's are", products=len(products), error=str(error))
        prices = None
    if prices is None:
        return _Outcome(unshown=products)
    mine = {due.key.id for due in products}
    others = [answer for product_id, found in prices.items() if product_id not in mine for answer in found]
    return _Outcome(others=others, priced=products, prices=prices)


async def _read_twins(
    stripe: StripeApi, scope: Scope, answers: Sequence[Answered], wanted: Sequence[UnreadTwin]
) -> _Outcome:
    """The snapshot events that say whether these answers are late. They go to the inbox, as if they had been posted."""
    twins, refused = await read_twins(stripe, scope, wanted)
    asked = [replace(answer, twins_asked=True, twins_refused=refused) for answer in answers]
    return _Outcome(answers=asked, twins=twins)


def _unavailable(due: DueRead, error: StripeUnavailable) -> FailedRead:
    seconds = backoff_seconds(due.attempts, first=0.5, longest=300.0)
    return FailedRead(key=due.key, tick=due.tick, error=str(error), retry_after=timedelta(seconds=seconds))


async def _read(stripe: StripeApi, due: DueRead, *, prices: tuple[Answered, ...] | None = None) -> _Outcome:
    """One object, with its nested lists whole; `prices`, of a product, if they are listed already."""
    found = await _read_by_id(stripe, due, prices)
    return _Outcome(answers=[found]) if isinstance(found, Answered) else _Outcome(failures=[found])


async def _read_by_id(
    stripe: StripeApi, due: DueRead, prices: tuple[Answered, ...] | None
) -> Answered | FailedRead:
    """One read, with its nested lists whole; a failure says when to try again, and never what the object is."""
    try:
        return await read_whole(stripe, due, prices=prices)
    except StripeMissing as missing:
        return judge_absence(due, str(missing))
    except StripeUnavailable as unavailable:
        return _unavailable(due, unavailable)
    except StripeRefused as refused:
        log.error(
            "stripe refuses a read",
            account=due.key.account_id,
            kind=due.key.kind,
            id=due.key.id,
            error=str(refused),
        )
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=str(refused),
            # Ever less often: nothing changes until somebody acts.
            retry_after=timedelta(minutes=min(4 ** min(due.attempts - 1, 5), 360)),
            refused=refused.status in (401, 403),
            forbidden=refused.forbidden,
            closed=refused.account_is_closed and due.key.account_id != "",
            odd=refused.status not in (401, 403),
        )
    except Exception as unreadable:  # noqa: BLE001 - one bad object must never stop another (I7)
        log.error(
            "answer not understood",
            account=due.key.account_id,
            kind=due.key.kind,
            id=due.key.id,
            error=repr(unreadable),
        )
        seconds = backoff_seconds(due.attempts, longest=300.0)
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=repr(unreadable),
            retry_after=timedelta(seconds=seconds),
            unreadable=True,
            owner=unreadable.owner if isinstance(unreadable, NotUnderstood) else None,
        )
