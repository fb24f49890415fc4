"""Fewer requests than reads: objects that are due and lie near one another in a list of Stripe's are read by its pages,
and what comes inside the answer about another object is not asked for by itself.

What a page does not show is asked for by its id: absence is not evidence (ARCHITECTURE.md, I8).
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil

from billing.kinds.kind import Kind
from billing.kinds.registry import KINDS, kind_of
from db.connection import Connection, Pool
from db.keys import Key, Scope
from db.sync.due_reads import DueRead
from db.sync.objects import draw_tick
from db.sync.stretches import Second, count_prices, select_holders, select_seconds
from runtime.stripe_api import StripeApi
from worker.live.answers import Answered
from worker.live.pages import PAGE, SECOND, read_page

BRIDGED_ROWS_MAX = PAGE // 2
"""Rows between two due objects that one stretch takes in: more would cost as many pages as it saves reads."""
PRICE_PAGES_MAX = 10
"""Pages of an account's prices that are read, and kept in memory, for several of its products."""
TOLD_AFTER_MAX = timedelta(seconds=5)
"""How long after its creation a new object's thin event may be created: a charge's tells that it has succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a kind's list, which is read for the due objects in it."""

    scope: Scope
    kind: Kind
    low: datetime
    high: datetime
    """Its end, which is not part of it."""
    reads: tuple[DueRead, ...]
    pages: int
    """As many pages as the mirror's rows fill."""
    after: str | None = None
    """The object after which the next page begins; None: it is the first one."""


@dataclass(slots=True)
class Plan:
    """How due reads are made."""

    stretches: list[Stretch] = field(default_factory=list)
    alone: list[DueRead] = field(default_factory=list)
    inside: dict[Key, list[DueRead]] = field(default_factory=dict)
    """What comes inside the answer about another due object, by the key of that one."""
    products: list[tuple[DueRead, ...]] = field(default_factory=list)
    """Products of one account for which its prices are listed together."""
    deferred: list[tuple[DueRead, datetime]] = field(default_factory=list)
    """What comes inside the answer about an object that is due a little later, at that moment."""


async def plan_reads(
    connection: Connection, due: Sequence[DueRead], *, unlistable: Container[tuple[str, str]]
) -> Plan:
    """Plan the reads of what is due. `unlistable`: the accounts and kinds of whose lists this API refuses stretches."""
    plan = Plan()
    keys = {read.key for read in due}
    for (scope, name), reads in _by_kind(due).items():
        kind = KINDS[name]
        if kind.confirmed_inside is not None:
            reads = await _without_inside(connection, plan, scope, kind, reads, keys)
        if name == "product" and await _are_listed_together(connection, scope, reads):
            plan.products.append(tuple(reads))
            continue
        simple = {read.key.id: read for read in reads if not read.by_id_only}
        if kind.confirmed_along is None or (scope.account_id, name) in unlistable or len(simple) < 2:
            plan.alone += reads
            continue
        seconds = await select_seconds(
            connection, scope, name, list(simple), page=PAGE, rows_after_max=BRIDGED_ROWS_MAX + 1
        )
        stretches = stretches_of(scope, kind, seconds, simple)
        listed = {read.key for stretch in stretches for read in stretch.reads}
        plan.stretches += stretches
        plan.alone += [read for read in reads if read.key not in listed]
    return plan


async def _are_listed_together(connection: Connection, scope: Scope, products: Sequence[DueRead]) -> bool:
    """Whether all prices of the account take fewer pages than those of these products by themselves."""
    variants = len(KINDS["price"].list_variants)
    pages_max = min(PRICE_PAGES_MAX, variants * len(products) - 1)
    if pages_max < variants:
        return False
    prices = await count_prices(connection, scope, up_to=pages_max * PAGE)
    return prices // PAGE + variants <= pages_max


async def _without_inside(
    connection: Connection,
    plan: Plan,
    scope: Scope,
    kind: Kind,
    reads: Sequence[DueRead],
    keys: Container[Key],
) -> list[DueRead]:
    """Those of the reads that no read of another object makes needless; the others go into the plan."""
    if kind.confirmed_inside is None:
        return list(reads)
    _, holders_kind = kind.confirmed_inside
    holders = await select_holders(connection, scope, kind.name, [read.key.id for read in reads])
    left = []
    for read in reads:
        holder_id, read_at = holders.get(read.key.id, ("", None))
        holder = Key(*scope, holders_kind, holder_id)
        if read.by_id_only:
            left.append(read)
        elif holder in keys:
            plan.inside.setdefault(holder, []).append(read)
        elif read_at is not None:
            plan.deferred.append((read, read_at))
        else:
            left.append(read)
    return left


def _by_kind(due: Iterable[DueRead]) -> dict[tuple[Scope, str], list[DueRead]]:
    groups: defaultdict[tuple[Scope, str], list[DueRead]] = defaultdict(list)
    for read in due:
        groups[read.key.scope, read.key.kind].append(read)
    return groups


def stretches_of(
    scope: Scope, kind: Kind, seconds: Sequence[Second], due: dict[str, DueRead]
) -> list[Stretch]:
    """The stretches that take fewer pages than their objects take reads; pure. `seconds` in their order."""
    stretches = []
    for run in _runs(seconds):
        reads = tuple(due[object_id] for second in run for object_id in second.ids)
        rows = sum(second.rows for second in run) + sum(second.rows_after for second in run[:-1])
        pages = ceil(rows / PAGE)
        if pages < len(reads):
            stretches.append(
                Stretch(
                    scope=scope,
                    kind=kind,
                    low=run[0].begins - TOLD_AFTER_MAX if run[0].guessed else run[0].begins,
                    high=run[-1].begins + SECOND,
                    reads=reads,
                    pages=pages,
                )
            )
    return stretches


def _runs(seconds: Sequence[Second]) -> list[list[Second]]:
    """Seconds that lie near one another, together; one that is as dense as it is costly to list, by itself."""
    runs: list[list[Second]] = []
    before: Second | None = None
    for second in seconds:
        if before is None or before.rows_after > BRIDGED_ROWS_MAX or _is_costly(before) or _is_costly(second):
            runs.append([])
        runs[-1].append(second)
        before = second
    return runs


def _is_costly(second: Second) -> bool:
    return second.rows >= PAGE * len(second.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOf:
    """What one page of a stretch has brought."""

    answers: list[Answered]
    """About due objects."""
    others: list[Answered]
    rest: Stretch | None
    """What is left of the stretch to read; None if nothing is."""
    unshown: tuple[DueRead, ...] = ()
    """Due objects that are to be read by their ids after all."""


async def read_stretch(pool: Pool, stripe: StripeApi, stretch: Stretch) -> PageOf:
    """Read the next page of a stretch; its tick is drawn before.

    Raises StripeError and NotJson.
    """
    async with pool.acquire() as connection:
        tick = await draw_tick(connection)
    page = await read_page(
        stripe,
        stretch.kind,
        account_id=stretch.scope.account_id,
        live_mode=stretch.scope.live_mode,
        tick=tick,
        after=stretch.after,
        low=stretch.low,
        high=stretch.high,
        along=stretch.kind.confirmed_along or "created",
        cut_lists_max=0,
    )
    due = {read.key: read for read in stretch.reads}
    answers, others = [], []
    for answer in page.answers:
        read = due.pop(answer.key, None)
        if read is None:
            others.append(answer)
        else:
            answers.append(replace(answer, late_reads=read.late_reads))
    # An object of which a list is cut, or that cannot be understood, is read by its id, like one that is not there.
    by_id = [due.pop(key) for key in (*page.unreadable, *(each.key for each in page.cut)) if key in due]
    left = tuple(due.values())
    pages = stretch.pages - 1
    # The mirror may know of fewer rows than there are: a page more is worth it if this one has shown something.
    if left and page.has_more and (pages > 0 or (answers and len(left) > 1)):
        rest = replace(stretch, reads=left, pages=pages, after=page.last_id)
        return PageOf(answers=answers, others=others, rest=rest, unshown=tuple(by_id))
    return PageOf(answers=answers, others=others, rest=None, unshown=(*by_id, *left))


def keys_inside(answer: Answered) -> set[Key]:
    """The objects that came with an answer and that it confirms as well, if it is believed."""
    scope = answer.key.scope
    inside = {each.key for each in answer.also}
    for body in answer.parsed.embedded:
        kind = kind_of(str(body.get("object")))
        if kind is not None:
            inside.add(Key(*scope, kind.name, str(body.get(kind.id_field))))
    return inside


async def read_prices(pool: Pool, stripe: StripeApi, scope: Scope) -> dict[str | None, list[Answered]] | None:
    """All prices of an account by their products, the archived ones too; None if they are more than expected, or one
    of them cannot be understood. Each page draws its tick before.

    Raises StripeError and NotJson.
    """
    kind = KINDS["price"]
    found: dict[str | None, list[Answered]] = {}
    pages = 0
    for variant in kind.list_variants:
        after: str | None = None
        while True:
            if pages == PRICE_PAGES_MAX:
                return None
            async with pool.acquire() as connection:
                tick = await draw_tick(connection)
            page = await read_page(
                stripe,
                kind,
                account_id=scope.account_id,
                live_mode=scope.live_mode,
                tick=tick,
                after=after,
                variant=variant,
            )
            pages += 1
            if page.unreadable or page.cut:
                return None
            for answer in page.answers:
                found.setdefault(getattr(answer.parsed.facts, "product_id", None), []).append(answer)
            if not page.has_more:
                break
            after = page.last_id
    return found
