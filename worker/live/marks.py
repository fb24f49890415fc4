"""Marks: which objects have changed, or are to be read for another reason, and what may be shown of them meanwhile."""

from dataclasses import replace
from datetime import datetime, timedelta

from billing.kinds.fields import latest
from billing.kinds.registry import KINDS
from billing.kinds.thin import ANNOUNCEMENTS
from billing.kinds.witness import contradicts
from db.keys import Key
from db.sync.inbox import ClaimedEvent
from db.sync.objects import TIED_MAX, Mark
from worker.live.mirror import Shown, is_terminal


def bare_mark(
    key: Key, *, source: str, customer_id: str | None = None, known_since: int | None = None
) -> Mark:
    """A mark that says only: read this object. Until it is read, its customer, if known, is not exact."""
    kind = KINDS[key.kind]
    return Mark(
        key=key,
        customer_id=key.id if kind.id_is_customers else customer_id,
        ownerless=kind.ownerless,
        event_id=None,
        event_created=None,
        source=source,
        known_since=known_since,
    )


JUST_BEFORE = timedelta(milliseconds=1)
"""Of all events of one second, that of an object's creation is the first, in whatever order they come."""


def event_mark(
    key: Key,
    event: ClaimedEvent,
    shown: Shown | None,
    *,
    owner: str | None,
    deleted: bool,
    known_since: int | None = None,
    thin: bool = False,
    of_own: bool = True,
) -> Mark:
    """The mark of an object that an event concerns; `owner` is the customer that the event names.

    `known_since`: the tick at which the event's twin told the same change. `thin`: the event carries no state.
    `of_own`: it is about this object, and not about one that has no id of its own.
    """
    kind = KINDS[key.kind]
    customer_id = None if shown is None else shown.parsed.customer_id
    if kind.id_is_customers:
        customer_id = key.id
    owned = kind.confirmed_by == "reads" and not kind.catalogue
    # What nobody understands in an event about the object itself tells as much as a thin event does.
    untold = thin or (of_own and kind.confirmed_by == "reads")
    tells = shown is not None or (untold and not deleted and event.type not in ANNOUNCEMENTS)
    told_at = event.created if tells else None
    if told_at is not None and event.type.endswith(".created") and not kind.id_is_chosen:
        told_at -= JUST_BEFORE
    return Mark(
        key=key,
        # The customer that is concerned until its first read says so, and if that read fails.
        customer_id=customer_id or (owner if owned else None),
        ownerless=owned and customer_id is None and (shown is not None or not kind.names_customer),
        event_id=event.event_id,
        event_created=event.created,
        source="event",
        payload_created=None if shown is None else told_at,
        payload_seq=0 if shown is None else event.seq,
        witness_created=told_at,
        witness_seq=0 if shown is None else event.seq,
        witness_says=None if shown is None else shown.parsed,
        terminal=shown is not None and is_terminal(shown.parsed),
        deleted_event_at=event.created if deleted else None,
        asks=kind.confirmed_by == "reads",
        known_since=known_since,
        thin=thin and kind.confirmed_by == "reads",
        thins=int(shown is None and told_at is not None),
        tells=int(told_at is not None),
        thin_seqs=(event.seq,) if thin and of_own and told_at is not None else (),
    )


def without_past_deletion(mark: Mark, recreated_at: datetime | None) -> Mark:
    """The mark without the deletion of an object whose id was chosen again after it."""
    deleted_at = mark.deleted_event_at
    if recreated_at is None or deleted_at is None or deleted_at >= recreated_at:
        return mark
    return replace(mark, deleted_event_at=None)


def named_mark(key: Key, customer_id: str | None) -> Mark:
    """The mark of an object that an event only names: it is to be fetched."""
    return Mark(
        key=key,
        customer_id=customer_id,
        ownerless=False,
        event_id=None,
        event_created=None,
        source="event",
    )


def join_marks(earlier: Mark, later: Mark) -> tuple[Mark, bool]:
    """Two marks of one object in one batch: the newer payload by the provisional rule, the newer witness, which may be
    a thin event, the newer event, all facts of both. True when the earlier mark's payload is the one to show.
    """
    keep_payload = _payload_rank(earlier) > _payload_rank(later)
    payload = earlier if keep_payload else later
    older, witness = sorted((earlier, later), key=_witness_rank)
    event = earlier if _event_rank(earlier) > _event_rank(later) else later
    joined = Mark(
        key=later.key,
        customer_id=payload.customer_id or earlier.customer_id or later.customer_id,
        ownerless=earlier.ownerless or later.ownerless,
        event_id=event.event_id,
        event_created=event.event_created,
        source=later.source,
        payload_created=payload.payload_created,
        payload_seq=payload.payload_seq,
        witness_created=witness.witness_created,
        witness_seq=witness.witness_seq,
        witness_says=witness.witness_says,
        tied=_tied(older, witness),
        terminal=payload.terminal,
        deleted_event_at=latest([earlier.deleted_event_at, later.deleted_event_at]),
        asks=later.asks,
        # A change that nobody has told yet is one even beside others.
        known_since=None
        if earlier.known_since is None or later.known_since is None
        else max(earlier.known_since, later.known_since),
        thin=earlier.thin or later.thin,
        thins=earlier.thins + later.thins,
        tells=earlier.tells + later.tells,
        thin_seqs=_thin_seqs(older, witness),
    )
    return joined, keep_payload


def _payload_rank(mark: Mark) -> tuple[bool, bool, float, int]:
    return mark.payload_seq > 0, mark.terminal, _seconds(mark.payload_created), mark.payload_seq


def _witness_rank(mark: Mark) -> tuple[float, int]:
    """As the statement that marks compares them across batches."""
    return _seconds(mark.witness_created), mark.witness_seq


def _tied(older: Mark, witness: Mark) -> tuple[int, ...]:
    """The payloads that may be the last instead of the witness's: those of its second that contradict it."""
    if older.witness_created != witness.witness_created or not older.witness_seq:
        return witness.tied
    tied = {*older.tied, *witness.tied}
    if (
        older.witness_says is None
        or witness.witness_says is None
        or contradicts(older.witness_says, witness.witness_says)
    ):
        tied.add(older.witness_seq)
    return tuple(sorted(tied, reverse=True)[:TIED_MAX])


def _thin_seqs(older: Mark, witness: Mark) -> tuple[int, ...]:
    if older.witness_created != witness.witness_created:
        return witness.thin_seqs
    return tuple(sorted({*older.thin_seqs, *witness.thin_seqs}, reverse=True)[:TIED_MAX])


def _event_rank(mark: Mark) -> float:
    return _seconds(mark.event_created)


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else float("-inf")
