"""The reader: one object of Stripe's with its lists whole, or the rest of one list."""

from collections.abc import Collection, Iterable
from datetime import datetime
from math import ceil
from typing import Any
from urllib.parse import quote

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef
from billing.kinds.parse import nested_lists, parse_object
from billing.kinds.registry import KINDS, owner_named_by
from db.connection import Pool
from db.keys import Key
from db.sync.due_reads import DueRead
from db.sync.objects import draw_tick
from runtime.payload import NotJson, as_text, clean_json, read_object
from runtime.stripe_api import Answer, StripeApi, StripeMissing, StripeRefused
from worker.live.answers import Answered

log = structlog.get_logger()

REST_PAGES_MAX = 1_000
"""Of the rest of one list: Stripe ends all that we know of long before."""


class NotUnderstood(UnknownShape):
    """An answer came, and its shape is not known."""

    def __init__(self, message: str, *, owner: ObjectRef | None) -> None:
        super().__init__(message)
        self.owner = owner
        """What leads to the customer, if the object's kind names none."""


async def due_now(pool: Pool, key: Key) -> DueRead:
    """A read, its tick drawn, of an object for which there is no appointment, and so none that a failure would move."""
    async with pool.acquire() as connection:
        return read_of(key, tick=await draw_tick(connection))


def read_of(key: Key, *, tick: int) -> DueRead:
    """The same, if its tick is drawn and committed."""
    return DueRead(key=key, tick=tick, attempts=1, never_read=False, deleted_event_at=None)


async def read_now(pool: Pool, stripe: StripeApi, key: Key) -> Answered:
    """One object as it is now, whole. Raises StripeError and UnknownShape."""
    return await read_whole(stripe, await due_now(pool, key))


async def read_whole(
    stripe: StripeApi, due: DueRead, *, prices: tuple[Answered, ...] | None = None
) -> Answered:
    """One object with its nested lists whole. Raises StripeError and UnknownShape.

    `prices`: of a product, those that were listed for it already.
    """
    account_id, _, kind_name, object_id = due.key
    kind = KINDS[kind_name]
    path = kind.retrieve_path.format(id=quote(object_id, safe=""))
    left_out: tuple[str, ...] = ()
    if kind.list_field is None:
        answer, left_out = await _read_expanded(stripe, due.key, path)
        text = clean_json(answer.body)
        body: dict[str, Any] = dict(read_object(text))
        for whole in kind.whole_lists:
            if whole.field in left_out and body.get("deleted") is not True:
                # What came unasked, or not at all, is read from the list's own address instead.
                body[whole.field] = {"object": "list", "data": [], "has_more": True}
    else:
        answer, held = await _read_held(stripe, due, path)
        body = {"object": kind.stripe_object, kind.id_field: object_id, kind.list_field: held}
        text = as_text(body).encode()
    cut = await complete_lists(stripe, body, account_id=account_id, left_out=left_out)
    try:
        parsed = parse_object(body, asked=not left_out)
    except UnknownShape as unknown:
        raise NotUnderstood(str(unknown), owner=owner_named_by(body)) from unknown
    if (parsed.kind, parsed.id) != (kind_name, object_id):
        raise UnknownShape(f"{path} answered {parsed.kind} {parsed.id}: STRIPE_API_BASE is not Stripe's API")
    raw = as_text(body) if cut else text.decode()
    also = prices or ()
    if kind_name == "product" and not parsed.deleted and prices is None:
        try:
            also = await _prices_of(stripe, due, asked_at=answer.asked_at)
        except StripeMissing as missing:
            log.warning("prices not listed", product=object_id, error=str(missing))
            left_out = (*left_out, "the list of its prices")
    return Answered(
        key=due.key,
        tick=due.tick,
        parsed=parsed,
        raw=raw,
        asked_at=answer.asked_at,
        also=also,
        late_reads=due.late_reads,
        contradictions=due.contradictions,
        contradicted_long=due.contradicted_long,
        audited=due.audited,
        doubted_long=due.doubted_long,
        left_out=left_out,
    )


async def _read_expanded(stripe: StripeApi, key: Key, path: str) -> tuple[Answer, tuple[str, ...]]:
    """The object with the registry's expansions, but for those that this API refuses (400, naming them)."""
    all_expands = KINDS[key.kind].expands
    refused_before = stripe.expansions.refused(key.account_id, key.kind)
    left_out = refused_before
    while True:
        expands = tuple(each for each in all_expands if each not in left_out)
        try:
            answer = await stripe.read(path, account_id=key.account_id, expands=expands)
        except StripeRefused as refused:
            if refused.status != 400 or not expands or "expand" not in str(refused):
                raise
            # Where it names none that we know, all are left out.
            left_out |= {each for each in expands if each in str(refused)} or set(expands)
            continue
        if all_expands and (left_out != refused_before or not left_out):
            stripe.expansions.note(key.account_id, key.kind, key.id, left_out)
        return answer, tuple(sorted(left_out))


async def _read_held(stripe: StripeApi, due: DueRead, path: str) -> tuple[Answer, dict[str, Any]]:
    """The list that is read for an object that Stripe keeps once per customer. A deleted customer has an empty one."""
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


async def complete_lists(
    stripe: StripeApi, body: dict[str, Any], *, account_id: str, left_out: Collection[str] = ()
) -> int:
    """Read the rest of the lists in an object that facts need whole and that Stripe has cut; returns how many requests
    that took, 0 when none was cut.

    Raises StripeError and NotJson. That Stripe knows no such list, or no such entry in it, says nothing of the object,
    which was there a moment ago: it was changed while it was read.
    """
    requests = 0
    for nested in nested_lists(body):
        asked_for = [each for each in nested.expands if each not in left_out]
        expands = [each.removeprefix(f"{nested.path[-1]}.") for each in asked_for]
        try:
            rest = await read_rest(stripe, nested.url, nested.last_id, account_id=account_id, expands=expands)
        except (StripeMissing, StripeRefused) as gone:
            if isinstance(gone, StripeRefused) and gone.status != 400:
                raise
            raise NotJson(f"the rest of a list was not found ({gone})") from gone
        requests += max(ceil(len(rest) / 100), 1)
        whole = body
        for name in nested.path:
            whole[name] = dict(whole[name])
            whole = whole[name]
        whole["data"] = [*whole["data"], *rest]
        whole["has_more"] = False
    return requests


async def read_rest(
    stripe: StripeApi, url: str, after: str | None, *, account_id: str, expands: Iterable[str] = ()
) -> list[Any]:
    """The entries of a list after the given one, to its end."""
    asked_for = "".join(f"&expand[]={each}" for each in expands)
    rest: list[Any] = []
    for _ in range(REST_PAGES_MAX):
        page_path = f"{url}{'&' if '?' in url else '?'}limit=100{asked_for}"
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
    raise NotJson(f"{url} did not end after {REST_PAGES_MAX} pages")


async def _prices_of(stripe: StripeApi, product: DueRead, *, asked_at: datetime) -> tuple[Answered, ...]:
    """All prices of a product: a price's rank among them is a version number, so an unknown price matters."""
    account_id, live_mode, _, product_id = product.key
    kind = KINDS["price"]
    # Whatever a read of a price asks for is asked for here too: this page is stored as a read of each price.
    expands = [f"data.{path}" for path in kind.expands]
    url = f"{kind.list_path}?product={quote(product_id, safe='')}"
    found = [
        (parse_object(body), body)
        for variant in kind.list_variants  # the archived ones too
        for body in await read_rest(stripe, f"{url}&{variant}", None, account_id=account_id, expands=expands)
    ]
    return tuple(
        Answered(
            key=Key(account_id, live_mode, parsed.kind, parsed.id),
            tick=product.tick,
            parsed=parsed,
            raw=as_text(body),
            asked_at=asked_at,
        )
        for parsed, body in found
    )
