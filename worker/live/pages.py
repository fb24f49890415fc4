"""One page of one of Stripe's lists, as answers that the fence takes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef, is_id
from billing.kinds.kind import Kind
from billing.kinds.parse import nested_lists, parse_object
from billing.kinds.registry import customer_named_by, owner_named_by
from db.connection import Pool
from db.keys import Key
from db.sync.objects import draw_tick
from runtime.payload import NotJson, as_text, clean_json, read_object
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused
from worker.live.answers import Answered
from worker.live.reads import complete_lists

PAGE = 100
SECOND = timedelta(seconds=1)
CUT_LISTS_MAX = 4
"""Cut lists inside a page's objects that are read to their end with it, one after another: more would take longer than
a worker's turn."""

PAGES_MAX = 10_000
"""Pages of a list that belongs to one customer, charge or test clock: a list with more never ends."""

_QUERIES = {"subscription": "status=all"}  # by default Stripe leaves out the canceled ones

log = structlog.get_logger()


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool = False


_decode_page = msgspec.json.Decoder(_Page).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page's content. `unreadable` are objects whose shape we do not know, each with the customer that it names, and
    `owners` what leads to the customers of those whose kind names none. `cut` are objects inside which a list ends too
    early. Unreadable and cut ones are to be read by id.
    """

    tick: int
    answers: tuple[Answered, ...]
    unreadable: Mapping[Key, str | None]
    owners: Mapping[Key, ObjectRef]
    cut: tuple[Answered, ...]
    last_id: str | None
    has_more: bool
    requests: int

    @property
    def created(self) -> list[datetime]:
        """When its objects were created, except the unreadable ones."""
        moments = (getattr(answer.parsed.facts, "created", None) for answer in (*self.answers, *self.cut))
        return [moment for moment in moments if moment is not None]


def list_query(kind: Kind) -> str:
    """The query of every page of a kind's list: all states, and what Stripe leaves out by default."""
    query = f"&{_QUERIES[kind.name]}" if kind.name in _QUERIES else ""
    return query + "".join(f"&expand[]=data.{quote(expand, safe='.')}" for expand in kind.expands)


def list_path(
    kind: Kind,
    *,
    low: datetime | None,
    high: datetime | None,
    after: str | None,
    variant: str = "",
    along: str = "created",
) -> str:
    """The path of one page of a kind's objects created in [low, high), after the object `after`.

    All objects if there are no bounds, or the kind's list takes none. `variant`: one of the kind's `list_variants`,
    or a filter by owner. `along`: the bounds are those of another field.
    """
    path = f"{kind.list_path}?limit={PAGE}"
    if kind.list_by_created and low is not None and high is not None:
        path += f"&{along}[gte]={int(low.timestamp())}&{along}[lt]={int(high.timestamp())}"
    path += list_query(kind)
    if variant:
        path += f"&{variant}"
    return path if after is None else f"{path}&starting_after={quote(after, safe='')}"


async def read_page(
    stripe: StripeApi,
    kind: Kind,
    *,
    account_id: str,
    live_mode: bool,
    tick: int,
    after: str | None,
    low: datetime | None = None,
    high: datetime | None = None,
    after_created: datetime | None = None,
    variant: str = "",
    along: str = "created",
    cut_lists_max: int = CUT_LISTS_MAX,
) -> Page:
    """Read one page, and the rest of at most `cut_lists_max` nested lists that are cut; `tick` must have been drawn and
    committed before.

    Raises StripeError.
    """
    requests = 1
    try:
        answer = await stripe.read(
            list_path(kind, low=low, high=high, after=after, variant=variant, along=along),
            account_id=account_id,
        )
    except (StripeRefused, StripeMissing) as refused:
        unknown_cursor = isinstance(refused, StripeMissing) or refused.status == 400
        if not unknown_cursor or after is None or after_created is None:
            raise
        # The object that the page was to start after has been deleted: start with the second of its creation.
        log.info("list cursor is gone", kind=kind.name, after=after)
        high = after_created + SECOND if high is None else min(high, after_created + SECOND)
        again = list_path(kind, low=low, high=high, after=None, variant=variant)
        answer = await stripe.read(again, account_id=account_id)
        requests += 1
    try:
        page = _decode_page(clean_json(answer.body))
    except msgspec.MsgspecError as error:
        raise NotJson(f"{kind.list_path} answered no list: {error}") from None
    answers: list[Answered] = []
    unreadable: dict[Key, str | None] = {}
    owners: dict[Key, ObjectRef] = {}
    cut: list[Answered] = []
    completed = 0
    last_id: str | None = None
    for raw in page.data:
        text = bytes(raw)
        body: dict[str, Any] = dict(read_object(text))
        object_id = body.get("id")
        if not is_id(object_id):
            raise NotJson(f"{kind.list_path} holds something without an id")
        last_id = object_id
        extra, is_cut = 0, bool(nested_lists(body))
        if is_cut and completed < cut_lists_max:
            completed += 1
            try:
                extra = await complete_lists(stripe, body, account_id=account_id)
                is_cut = False
            except (StripeMissing, StripeRefused, NotJson) as error:
                log.warning("list not completed", kind=kind.name, id=object_id, error=str(error))
            requests += extra
        try:
            parsed = parse_object(body, asked=True)
        except UnknownShape as unknown:
            log.error("object not understood", kind=kind.name, id=object_id, error=str(unknown))
            key = Key(account_id, live_mode, kind.name, object_id)
            unreadable[key] = customer_named_by(body)
            if owner := owner_named_by(body):
                owners[key] = owner
            continue
        (cut if is_cut else answers).append(
            Answered(
                key=Key(account_id, live_mode, parsed.kind, parsed.id),
                tick=tick,
                parsed=parsed,
                raw=as_text(body) if extra else text.decode(),
                asked_at=answer.asked_at,
            )
        )
    return Page(
        tick=tick,
        answers=tuple(answers),
        unreadable=unreadable,
        owners=owners,
        cut=tuple(cut),
        last_id=last_id,
        has_more=page.has_more and last_id is not None,
        requests=requests,
    )


async def each_page(
    pool: Pool,
    stripe: StripeApi,
    kind: Kind,
    *,
    account_id: str,
    live_mode: bool,
    variant: str,
    tick: int | None = None,
    cut_lists_max: int = CUT_LISTS_MAX,
) -> AsyncIterator[Page]:
    """The pages of a list that is filtered by its owner (`variant`, a query), to its end. `tick`: one for the first
    page, drawn and committed before, if there is one.

    Raises StripeError.
    """
    after: str | None = None
    for _ in range(PAGES_MAX):
        if tick is None or after is not None:
            async with pool.acquire() as connection:
                tick = await draw_tick(connection)
        page = await read_page(
            stripe,
            kind,
            account_id=account_id,
            live_mode=live_mode,
            tick=tick,
            after=after,
            variant=variant,
            cut_lists_max=cut_lists_max,
        )
        yield page
        if not page.has_more:
            return
        after = page.last_id
    raise NotJson(f"{kind.list_path}?{variant} did not end after {PAGES_MAX} pages")
