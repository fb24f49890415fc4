"""Confirm: read from Stripe what is dirty, and store the answer through the fence.

The tick of a read is drawn, and committed with its lease, before its request leaves: so a stored answer was asked for
after every change that an older mark tells of (ARCHITECTURE.md, the fence).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import quote

import structlog

from billing.deadlines import next_look
from billing.kinds.fields import UnknownShape
from billing.kinds.kind import Kind
from billing.kinds.monotone import MONOTONE, goes_back
from billing.kinds.parse import Parsed, nested_lists, parse_object
from billing.kinds.registry import HINTED, KINDS, customer_named_by, kind_of
from billing.kinds.subscriptions import Subscription
from db.connection import Connection, Pool, PostgresRefuses
from db.keys import CustomerKey, Key
from db.mirror.tables import bury_rows, select_monotone
from db.sync.accounts import clear_alarms, raise_alarm
from db.sync.coverage import mark_known_stale
from db.sync.customers import mark_stale
from db.sync.objects import (
    DueRead,
    FailedRead,
    Reading,
    claim_reads,
    confirm_objects,
    mark_objects,
    postpone_reads,
    select_unheard,
)
from runtime.stripe_api import Answer, StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.forget import set_aside_answers
from worker.leases import Held
from worker.lists.steps import bare_mark
from worker.live.apply import Shown, TryLater, is_terminal, write_mirror
from worker.payload import NotJson, as_text, clean_json, read_object
from worker.retry import backoff_seconds, retry_conflicts

BATCH = 200
LEASE = timedelta(seconds=90)
PAGES_MAX = 1_000

# Never seen: the object may be younger than what the API's replicas know. After that, missing, and looked for now and
# then: the row stays, since absence is not evidence.
UNSEEN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 30, 120))
# Reads may lag behind the event that told of a change. After these, one more an hour after the first is believed.
ASK_AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 60, 1200))
CONTRADICTIONS_BELIEVED = 3
NOT_STORED_AGAIN_AFTER = timedelta(seconds=30)
MISSING_AFTER = tuple(timedelta(hours=hours) for hours in (1, 6, 24))

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a read that began at `tick` told of one object."""

    key: Key
    tick: int
    parsed: Parsed
    raw: str
    answered_at: datetime
    late_reads: int = 0  # how many reads before it found a passed deadline unkept
    contradictions: int = 0  # how many reads before it took back what Stripe never takes back
    also: tuple["Answered", ...] = ()  # what was read with it
    believed: bool = False  # they have agreed for so long that it is stored all the same
    audited: bool = False  # an audit has found already that the stored row is wrong
    beside: bool = False  # came inside an object that names its customer


async def confirm_batch(
    pool: Pool,
    stripe: StripeApi,
    *,
    live_mode: bool,
    limit: int = BATCH,
    stored: Callable[[], None] = lambda: None,
    in_hand: Held[DueRead] | None = None,
) -> tuple[int, bool]:
    """Read what is due and store what came, in groups as the answers arrive; `stored` is called after each group.

    Returns how many reads were begun, and whether Stripe refused the key or did not know an object that we know.
    `in_hand` notes the reads while they are under way.
    """
    async with pool.acquire() as connection:
        due = await claim_reads(connection, kinds=list(KINDS), live_mode=live_mode, limit=limit, lease=LEASE)
    with (in_hand or Held()).holding(due):
        refused = await _make_reads(pool, stripe, due, stored)
    return len(due), refused


async def _make_reads(
    pool: Pool, stripe: StripeApi, due: Sequence[DueRead], stored: Callable[[], None]
) -> bool:
    refused = False
    reads = {asyncio.create_task(_read(stripe, each)) for each in due}
    try:
        while reads:
            done, reads = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            outcomes = [task.result() for task in done]
            answers = [each for each in outcomes if isinstance(each, Answered)]
            failures = [each for each in outcomes if isinstance(each, FailedRead)]
            refused = refused or any(failure.missing or failure.refused for failure in failures)
            async with pool.acquire() as connection:
                failures += await store_safely(connection, answers, source="event")
                if failures:
                    await retry_conflicts(lambda: _postpone(connection, failures))  # noqa: B023
                await _say_refused(connection, answers, failures)
            stored()
    finally:
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    return refused


async def _say_refused(connection: Connection, answers: list[Answered], failures: list[FailedRead]) -> None:
    """Alarm about kinds that the key may not read, and take the alarm back once it may."""
    readable = {answer.key.kind for answer in answers}
    await clear_alarms(connection, [f"reads of {kind} refused" for kind in readable])
    for kind, error in {each.key.kind: each.error for each in failures if each.refused}.items():
        follows = "its rows stay as they are" if kind in HINTED else "its customers stay inexact"
        detail = f"give the API key the right to read {_path_of(KINDS[kind])}, or {follows} ({error})"
        await raise_alarm(connection, f"reads of {kind} refused", detail)


def _path_of(kind: Kind) -> str:
    return kind.list_path or kind.retrieve_path.partition("?")[0]


async def store_safely(
    connection: Connection, answers: list[Answered], *, source: str, of_whole: bool = False
) -> list[FailedRead]:
    """Store a group as store_answers does; where that fails, its answers one by one. Tells which were not stored, and
    why.
    """
    if not answers:
        return []
    try:
        return await retry_conflicts(
            lambda: store_answers(connection, answers, source=source, of_whole=of_whole)
        )
    except TryLater:
        raise  # their leases run out
    except Exception as error:  # noqa: BLE001 - one bad answer must never stop another (I7)
        if len(answers) > 1:
            return [
                failure
                for answer in answers
                for failure in await store_safely(connection, [answer], source=source, of_whole=of_whole)
            ]
        key = answers[0].key
        log.error("answer not stored", kind=key.kind, id=key.id, error=repr(error))
        if isinstance(error, PostgresRefuses):
            said = f"Postgres refuses the answer: {error}"
            return [
                FailedRead(
                    key=key, tick=answers[0].tick, error=said, retry_after=timedelta(hours=1), parked=True
                )
            ]
        said = f"an error of ours: {error!r}"
        return [
            FailedRead(
                key=key, tick=answers[0].tick, error=said, retry_after=NOT_STORED_AGAIN_AFTER, unreadable=True
            )
        ]


async def store_answers(
    connection: Connection, answers: list[Answered], *, source: str, of_whole: bool = False
) -> list[FailedRead]:
    """Store what Stripe said, each answer where the fence lets it through, in one transaction.

    An answer that takes back what Stripe never takes back is old: it is not stored but asked for again, which the
    returned failures say. `of_whole`: the answers are a page of a backfill of everything. What they name comes with
    another page, so nothing is marked for it; and customers without a record get theirs when the backfill ends, so
    that each is derived once. What inside an answer cannot be understood is marked all the same, as its customer's.
    """
    beside: dict[Key, Shown] = {}
    references: dict[Key, str | None] = {}
    unreadable: dict[Key, str | None] = {}
    by_key: dict[Key, Answered] = {}
    for answer in answers:
        for told in (answer, *_told_beside(answer, references, beside, unreadable)):
            known = by_key.get(told.key)
            if known is None or known.tick < told.tick:
                by_key[told.key] = told
    async with connection.transaction():
        doubted = await _doubt(connection, by_key)
        for failure in doubted:
            del by_key[failure.key]
        named = {} if of_whole else {key: owner for key, owner in references.items() if key not in by_key}
        passed, unknown = await confirm_objects(
            connection,
            [_reading(each, of_whole=of_whole) for each in by_key.values()],
            source=source,
            named=await select_unheard(connection, named),
        )
        forgotten = await set_aside_answers(
            connection,
            {key: each.parsed for key, each in beside.items()}
            | {key: each.parsed for key, each in by_key.items()},
        )
        passed = {key: each for key, each in passed.items() if key not in forgotten}
        stored = {key: by_key[key] for key in passed}
        shown = {
            key: Shown(parsed=each.parsed, raw=each.raw)
            for key, each in stored.items()
            if not each.parsed.deleted
        }
        await write_mirror(connection, shown, confirmed=True, touches=not of_whole)
        await write_mirror(
            connection, {key: beside[key] for key in unknown - forgotten if key in beside}, confirmed=False
        )
        gone = {key: each for key, each in stored.items() if each.parsed.deleted}
        deleted_at = {key: passed[key].deleted_event_at for key in gone}
        await bury_rows(
            connection, {key: at for key, at in deleted_at.items() if at is not None}, told_by_event=True
        )
        await bury_rows(
            connection,
            {key: each.answered_at for key, each in gone.items() if deleted_at[key] is None},
            told_by_event=False,
        )
        stale = {
            CustomerKey(*key.scope, each.customer_id)
            for key, each in passed.items()
            if each.customer_id is not None and key.kind not in HINTED
        }
        if unreadable:
            await mark_objects(
                connection, [bare_mark(key, source=source, customer_id=unreadable[key]) for key in unreadable]
            )
            stale |= {
                CustomerKey(*key.scope, owner) for key, owner in unreadable.items() if owner is not None
            }
        if stale:
            await (mark_known_stale if of_whole else mark_stale)(connection, list(stale))
    return doubted


async def _doubt(connection: Connection, answers: dict[Key, Answered]) -> list[FailedRead]:
    """The answers that take back a monotone fact of the stored row, each with the time to ask again."""
    doubted = []
    for kind in MONOTONE:
        keys = [key for key in answers if key.kind == kind]
        stored = await select_monotone(connection, kind, keys) if keys else {}
        for key, row in stored.items():
            answer = answers[key]
            reason = None if answer.parsed.facts is None else goes_back(row, answer.parsed.facts)
            if reason is None or answer.audited:
                continue
            if answer.believed:
                log.error("a read is believed against all rules", kind=kind, id=key.id, reason=reason)
                detail = f"{kind} {key.id}: {reason}: Stripe has said so for an hour, and is believed"
                await raise_alarm(connection, f"contradiction {kind} {key.id}", detail)
                continue
            log.warning("a read is old", kind=kind, id=key.id, reason=reason)
            again = ASK_AGAIN_AFTER[min(answer.contradictions, len(ASK_AGAIN_AFTER) - 1)]
            doubted.append(
                FailedRead(
                    key=key,
                    tick=answer.tick,
                    error=f"an old answer: {reason}",
                    retry_after=again,
                    contradicts=True,
                )
            )
    return doubted


def whole_objects(answer: Answered) -> list[Answered]:
    """The answer, and the objects inside it that it tells of as a read of their own would."""
    return [answer, *_told_beside(answer, {}, {}, {})]


def _told_beside(
    answer: Answered,
    references: dict[Key, str | None],
    beside: dict[Key, Shown],
    unreadable: dict[Key, str | None],
) -> list[Answered]:
    """The objects inside an answer that it confirms as well, being whole and read with it (an invoice's payments, a
    charge's refunds). Others go to `references` and `beside`: fetched, and shown, only where nothing is known yet.
    What records depend on and nobody understands goes to `unreadable`, each with whose it is.
    """
    told: list[Answered] = list(answer.also)
    scope, owner = answer.key.scope, answer.parsed.customer_id
    todo = [answer.parsed]
    while todo:
        each = todo.pop()
        for body in each.embedded:
            try:
                inner = parse_object(body)
            except UnknownShape as unknown:
                log.error("object not understood", inside=answer.key, error=str(unknown))
                inner_kind = kind_of(str(body.get("object")))
                if inner_kind is not None and inner_kind.name not in HINTED:
                    key = Key(*scope, inner_kind.name, str(body[inner_kind.id_field]))
                    unreadable.setdefault(key, owner or customer_named_by(body))
                continue
            todo.append(inner)
            key, kind = Key(*scope, inner.kind, inner.id), KINDS[inner.kind]
            if not kind.catalogue and not kind.expands and not nested_lists(body):
                told.append(
                    Answered(
                        key=key,
                        tick=answer.tick,
                        parsed=inner,
                        raw=as_text(body),
                        answered_at=answer.answered_at,
                        beside=owner is not None,
                    )
                )
                continue
            references.setdefault(key, inner.customer_id)
            if not inner.deleted:
                beside.setdefault(key, Shown(parsed=inner, raw=as_text(body)))
        for ref in each.references:
            named_owner = ref.id if ref.kind == "customer" else owner
            references.setdefault(Key(*scope, *ref), named_owner if KINDS[ref.kind].names_customer else None)
    return told


def _reading(answer: Answered, *, of_whole: bool) -> Reading:
    kind, parsed = KINDS[answer.parsed.kind], answer.parsed
    wait, late_reads = None, 0
    if isinstance(parsed.facts, Subscription):
        wait, late_reads = next_look(
            parsed.facts, parsed.items, read_at=answer.answered_at, late_reads=answer.late_reads
        )
    return Reading(
        key=answer.key,
        tick=answer.tick,
        read_at=answer.answered_at,
        customer_id=parsed.customer_id,
        # Of a whole backfill, the object around it has named its customer in the same page.
        nameless=kind.confirmed_on_event
        and not kind.catalogue
        and parsed.customer_id is None
        and not (of_whole and answer.beside),
        terminal=is_terminal(parsed),
        deleted=parsed.deleted,
        next_read=wait,
        late_reads=late_reads,
    )


async def _postpone(connection: Connection, failures: list[FailedRead]) -> None:
    async with connection.transaction():
        stale = await postpone_reads(connection, failures)
        if stale:
            await mark_stale(connection, list(set(stale)))


async def _read(stripe: StripeApi, due: DueRead) -> Answered | FailedRead:
    """One read, with its nested lists whole; a failure says when to try again, and never what the object is."""
    try:
        return await read_whole(stripe, due)
    except StripeMissing as missing:
        if due.deleted_event_at is not None:
            return _deleted(due)
        return _missing(due, str(missing))
    except StripeUnavailable as unavailable:
        seconds = backoff_seconds(due.attempts, first=0.5, longest=300.0)
        return FailedRead(
            key=due.key, tick=due.tick, error=str(unavailable), retry_after=timedelta(seconds=seconds)
        )
    except StripeRefused as refused:
        log.error("stripe refuses a read", kind=due.key.kind, id=due.key.id, error=str(refused))
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=str(refused),
            retry_after=timedelta(minutes=min(due.attempts, 10)),
            refused=refused.status in (401, 403),
        )
    except Exception as unreadable:  # noqa: BLE001 - one bad object must never stop another (I7)
        log.error("answer not understood", kind=due.key.kind, id=due.key.id, error=repr(unreadable))
        seconds = backoff_seconds(due.attempts, longest=300.0)
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=repr(unreadable),
            retry_after=timedelta(seconds=seconds),
            unreadable=True,
        )


async def read_whole(stripe: StripeApi, due: DueRead) -> Answered:
    """One object with its nested lists whole. Raises what StripeApi.read raises, NotJson and UnknownShape."""
    account_id, _, kind_name, object_id = due.key
    kind = KINDS[kind_name]
    path = kind.retrieve_path.format(id=quote(object_id, safe=""))
    if kind.list_field is None:
        answer = await stripe.read(path, account_id=account_id, expands=kind.expands)
        text = clean_json(answer.body)
        body: dict[str, Any] = dict(read_object(text))
    else:
        answer, held = await _read_held(stripe, due, path)
        body = {"object": kind.stripe_object, kind.id_field: object_id, kind.list_field: held}
        text = as_text(body).encode()
    cut = await complete_lists(stripe, body, account_id=account_id)
    parsed = parse_object(body, asked=True)
    if (parsed.kind, parsed.id) != (kind_name, object_id):
        raise UnknownShape(f"{path} answered {parsed.kind} {parsed.id}: STRIPE_API_BASE is not Stripe's API")
    raw = as_text(body) if cut else text.decode()
    also: tuple[Answered, ...] = ()
    if kind_name == "product" and not parsed.deleted:
        also = await _prices_of(stripe, due, answered_at=answer.answered_at)
    return Answered(
        key=due.key,
        tick=due.tick,
        parsed=parsed,
        raw=raw,
        answered_at=answer.answered_at,
        also=also,
        late_reads=due.late_reads,
        contradictions=due.contradictions,
        believed=due.contradicted_long and due.contradictions >= CONTRADICTIONS_BELIEVED,
        audited=due.audited,
    )


async def _read_held(stripe: StripeApi, due: DueRead, path: str) -> tuple[Answer, dict[str, Any]]:
    """The list that stands for what Stripe keeps once per customer. A deleted customer has an empty one."""
    account_id, _, _, customer_id = due.key
    try:
        answer = await stripe.read(path, account_id=account_id)
    except (StripeMissing, StripeRefused) as refused:
        if isinstance(refused, StripeRefused) and refused.status != 400:
            raise
        customer_path = KINDS["customer"].retrieve_path.format(id=quote(customer_id, safe=""))
        answer = await stripe.read(customer_path, account_id=account_id)
        if read_object(clean_json(answer.body)).get("deleted") is not True:
            raise refused from None
        return answer, {"object": "list", "data": [], "has_more": False}
    return answer, dict(read_object(clean_json(answer.body)))


async def complete_lists(stripe: StripeApi, body: dict[str, Any], *, account_id: str) -> int:
    """Read the rest of the lists in an object that facts need whole and that Stripe has cut; returns how many requests
    that took, 0 when none was cut.

    Raises what StripeApi.read raises, and NotJson.
    """
    requests = 0
    for nested in nested_lists(body):
        rest = await read_rest(stripe, nested.url, nested.last_id, account_id=account_id)
        requests += max(ceil(len(rest) / 100), 1)
        whole = body
        for name in nested.path:
            whole[name] = dict(whole[name])
            whole = whole[name]
        whole["data"] = [*whole["data"], *rest]
        whole["has_more"] = False
    return requests


async def read_rest(stripe: StripeApi, url: str, after: str | None, *, account_id: str) -> list[Any]:
    """The entries of a list after the given one, to its end."""
    rest: list[Any] = []
    for _ in range(PAGES_MAX):
        page_path = f"{url}{'&' if '?' in url else '?'}limit=100"
        if after is not None:
            page_path += f"&starting_after={quote(after, safe='')}"
        page = read_object(clean_json((await stripe.read(page_path, account_id=account_id)).body))
        data = page.get("data")
        if not isinstance(data, list):
            raise NotJson(f"{url} answered no list")
        rest.extend(data)
        if page.get("has_more") is not True or not data:
            return rest
        after = str(data[-1]["id"])
    raise NotJson(f"{url} did not end after {PAGES_MAX} pages")


async def _prices_of(stripe: StripeApi, product: DueRead, *, answered_at: datetime) -> tuple[Answered, ...]:
    """All prices of a product: a price's rank among them is a version number, so one that we never heard of matters."""
    account_id, live_mode, _, product_id = product.key
    kind = KINDS["price"]
    # What a read tells has to be asked for here, too: this page is stored as a read of each price.
    expands = "".join(f"&expand[]=data.{path}" for path in kind.expands)
    url = f"{kind.list_path}?product={quote(product_id, safe='')}{expands}"
    found = [
        (parse_object(body), body)
        for variant in kind.list_variants  # the archived ones too
        for body in await read_rest(stripe, f"{url}&{variant}", None, account_id=account_id)
    ]
    return tuple(
        Answered(
            key=Key(account_id, live_mode, parsed.kind, parsed.id),
            tick=product.tick,
            parsed=parsed,
            raw=as_text(body),
            answered_at=answered_at,
        )
        for parsed, body in found
    )


def _deleted(due: DueRead) -> Answered:
    """A `*.deleted` event and a 404: together they prove the deletion."""
    _, _, kind, object_id = due.key
    body = {"object": KINDS[kind].stripe_object, "id": object_id, "deleted": True}
    answered_at = due.deleted_event_at or datetime.now(UTC)
    return Answered(
        key=due.key, tick=due.tick, parsed=parse_object(body), raw=as_text(body), answered_at=answered_at
    )


def _missing(due: DueRead, error: str) -> FailedRead:
    """A 404 proves a deletion only together with a `*.deleted` event; see ARCHITECTURE.md, I8."""
    if due.never_read and due.attempts <= len(UNSEEN_AFTER):
        return FailedRead(key=due.key, tick=due.tick, error=error, retry_after=UNSEEN_AFTER[due.attempts - 1])
    step = due.attempts - 1 - (len(UNSEEN_AFTER) if due.never_read else 0)
    return FailedRead(
        key=due.key,
        tick=due.tick,
        error=error,
        retry_after=MISSING_AFTER[min(max(step, 0), len(MISSING_AFTER) - 1)],
        missing=True,
    )
