"""The histories of status and of MRR: each ends with what the record says, in the transaction that stores both."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from billing.facts import CustomerFacts
from billing.history import revise_history
from billing.joined import JoinedMrr
from billing.mrr import Mrr
from billing.mrr_history import Chain, is_begun, moment_of_change, revise_mrr
from billing.record import Derived
from db.connection import Connection
from db.keys import Key
from db.records.history import (
    LastCause,
    MrrChange,
    StatusChange,
    select_chains,
    select_last_causes,
    select_last_changes,
    select_provisional_changes,
    write_mrr_changes,
    write_status_changes,
)
from db.records.records import StoredRecord
from db.sync.customers import StaleCustomer

NO_ENDS: Mapping[UUID, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """A customer's record, and the claim under which it may be stored."""

    stale: StaleCustomer
    facts: CustomerFacts
    derived: Derived
    others: tuple[CustomerFacts, ...] = ()
    """The facts of the customers that are joined to this one."""
    joined: tuple[StaleCustomer, ...] = ()
    """These customers, as they were in the snapshot that has those facts."""
    mrr: Mrr | JoinedMrr = field(init=False)

    def __post_init__(self) -> None:
        parts = [Mrr(each) for each in self.all_facts]
        object.__setattr__(self, "mrr", JoinedMrr(parts) if self.others else parts[0])

    @property
    def all_facts(self) -> tuple[CustomerFacts, ...]:
        """The facts of every customer whose record this is, the main one's first."""
        return (self.facts, *self.others)


# Status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Appended:
    """A change of a customer's status that is to be appended, and the objects that may have caused it."""

    of: Derivation
    before: str | None
    after: str | None
    deciding: tuple[Key, ...]


async def write_status_history(
    connection: Connection,
    kept: Sequence[Derivation],
    stored: dict[UUID, StoredRecord],
    ends: Mapping[UUID, str | None] = NO_ENDS,
) -> None:
    """Extend or correct billing.status_changes so that its last entry equals the record.

    `ends`: where the histories end that were joined just now.
    """
    tails = await select_provisional_changes(connection, [each.derived.record.uid for each in kept])
    taken_back: list[int] = []
    confirmed: list[int] = []
    appended: list[_Appended] = []
    for each in kept:
        record = each.derived.record
        before = stored.get(record.uid)
        tail = tails.get(record.uid, [])
        status = ends.get(record.uid, None if before is None else before.status)
        if status == record.status and not (tail and record.exact):
            continue
        revision = revise_history(tail, before=status, now=record.status, exact=record.exact)
        taken_back += revision.taken_back
        confirmed += revision.confirmed
        if revision.appended is not None:
            start, now = revision.appended
            appended.append(
                _Appended(
                    of=each,
                    before=start,
                    after=now,
                    deciding=_deciding(each, before, again=bool(revision.taken_back)),
                )
            )
    changes = await _date_changes(connection, appended, stored.keys() | ends.keys())
    await write_status_changes(connection, taken_back=taken_back, confirmed=confirmed, appended=changes)


async def _date_changes(
    connection: Connection, appended: Sequence[_Appended], stored: Collection[UUID]
) -> list[StatusChange]:
    """The new rows of the history, with the time and cause of each; no row is before the one that it follows."""
    if not appended:
        return []
    causes = await select_last_causes(connection, sorted({key for each in appended for key in each.deciding}))
    known = [uid for each in appended if (uid := each.of.derived.record.uid) in stored]
    last = await select_last_changes(connection, known) if known else {}
    changes = []
    for each in appended:
        record = each.of.derived.record
        cause = newest_of([causes[key] for key in each.deciding if key in causes])
        # Only an event has a time; of what a deadline or an audit found, it is only known that it has happened by now.
        announced_at = cause.event_created if cause is not None and cause.source == "event" else None
        shown_at, settled_at = last.get(record.uid, (None, None))
        before = settled_at if record.exact else shown_at
        changed_at = announced_at or each.of.stale.as_of
        changes.append(
            StatusChange(
                customer_uid=record.uid,
                status_before=each.before,
                status_after=each.after,
                changed_at=changed_at if before is None else max(changed_at, before),
                exact=record.exact,
                event_id=cause.event_id if cause else None,
                source=(cause.source if cause else None) or "event",
            )
        )
    return changes


def _deciding(each: Derivation, before: StoredRecord | None, *, again: bool) -> tuple[Key, ...]:
    """The objects that may have changed the status: the subscription that decides it now, the one that did before, and
    the customer if it is deleted, or there is nothing else. If steps are taken back and appended `again` as one,
    any subscription may have decided in between.
    """
    account_id, live_mode, _ = each.stale.key
    ids = {each.derived.deciding_subscription_id, None if before is None else before.stripe_subscription_id}
    if again:
        ids |= {subscription.id for facts in each.all_facts for subscription in facts.subscriptions}
    keys = [Key(account_id, live_mode, "subscription", one) for one in ids if one is not None]
    bare = not keys
    keys += [
        Key(account_id, live_mode, "customer", facts.customer_id)
        for facts in each.all_facts
        if facts.deleted_at is not None or bare
    ]
    return tuple(keys)


# MRR


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """A history that does not end where it should."""

    of: Derivation
    currency: str
    chain: Chain
    mrr: int

    @property
    def is_begun(self) -> bool:
        return is_begun(self.chain, exact=self.of.derived.record.exact)


async def write_mrr_history(connection: Connection, customers: Sequence[Derivation]) -> None:
    """Extend or correct billing.mrr_changes to end with billing.customer_mrr. An unknown MRR changes nothing."""
    chains = await select_chains(connection, [each.derived.record.uid for each in customers])
    moved = [one for each in customers for one in _moved(each, chains.get(each.derived.record.uid, {}))]
    if not moved:
        return
    keys = {key for one in moved if one.is_begun for key in _subscriptions(one.of)}
    causes = await select_last_causes(connection, sorted(keys)) if keys else {}
    taken_back: list[int] = []
    confirmed: list[int] = []
    appended: list[MrrChange] = []
    for one in moved:
        source, record = one.of.mrr, one.of.derived.record
        past = () if one.is_begun else source.past(one.currency, as_of=one.of.stale.as_of)
        level, since = one.chain.start(exact=record.exact)
        if past:
            level, since = past[-1].mrr_after, past[-1].changed_at
        moment = moment_of_change(
            by=one.mrr - level,
            moves=source.moves(one.currency, as_of=one.of.stale.as_of),
            event_moments=_event_moments(one.of, causes),
            after=since,
            as_of=one.of.stale.as_of,
        )
        revision = revise_mrr(one.chain, mrr=one.mrr, exact=record.exact, past=past, moment=moment)
        taken_back += revision.taken_back
        confirmed += revision.confirmed
        appended += [
            MrrChange(
                customer_uid=record.uid,
                account_id=record.account_id,
                live_mode=record.live_mode,
                currency=one.currency,
                mrr_before=step.mrr_before,
                mrr_after=step.mrr_after,
                changed_at=step.changed_at,
                exact=record.exact,
            )
            for step in revision.appended
        ]
    await write_mrr_changes(connection, taken_back=taken_back, confirmed=confirmed, appended=appended)


def _moved(each: Derivation, chains: Mapping[str, Chain]) -> list[_Moved]:
    """The customer's histories that end elsewhere, have something to be confirmed, or have not been looked at yet."""
    now = {row.currency: row.mrr for row in each.derived.mrr}
    found = []
    for currency in sorted(chains.keys() | each.mrr.currencies()):
        chain, mrr = chains.get(currency, Chain()), now.get(currency, 0)
        if mrr is None:
            continue
        if chain.ends_at != mrr or currency not in chains or (chain.tail and each.derived.record.exact):
            found.append(_Moved(of=each, currency=currency, chain=chain, mrr=mrr))
    return found


def _subscriptions(each: Derivation) -> list[Key]:
    return [
        Key(facts.account_id, facts.live_mode, "subscription", of.id)
        for facts in each.all_facts
        for of in facts.subscriptions
    ]


def _event_moments(each: Derivation, causes: Mapping[Key, LastCause]) -> list[datetime]:
    """When the last events of its subscriptions happened; a deadline or an audit gives no time."""
    found = [causes[key] for key in _subscriptions(each) if key in causes]
    return [cause.event_created for cause in of_events(found) if cause.event_created is not None]


# What moved an object last


def newest_of(causes: Sequence[LastCause]) -> LastCause | None:
    """What happened last to these objects, and so has changed what is derived from them; None: nothing is known.

    Of several objects that events moved, it is the latest event: events need not arrive in their order. If the last
    thing that happened is no event, it is that: no event announced what a deadline or an audit found.
    """
    return max(of_events(causes), key=_happened, default=max(causes, key=_tick, default=None))


def of_events(causes: Sequence[LastCause]) -> list[LastCause]:
    """The causes that say when something happened; none if the newest of all is no event, so that no old event of
    another object is taken for it.
    """
    if not causes or max(causes, key=_tick).source != "event":
        return []
    return [each for each in causes if each.source == "event" and each.event_created is not None]


def _tick(cause: LastCause) -> int:
    return cause.tick


def _happened(cause: LastCause) -> tuple[float, int]:
    created = cause.event_created
    return float("-inf") if created is None else created.timestamp(), cause.tick
