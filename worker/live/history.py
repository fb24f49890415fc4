"""MRR's history: brought to end where the records do, in the transaction that stores them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.facts import CustomerFacts
from billing.mrr import Chain, Mrr, is_begun, moment_of_change, revise_mrr
from billing.record import Derived
from db.connection import Connection
from db.keys import Key
from db.records.history import LastCause, MrrChange, select_chains, select_last_causes, write_mrr_changes
from worker.live.occasions import of_events


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedMrr:
    """One customer: what was derived of it, and from what."""

    facts: CustomerFacts
    derived: Derived
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """A history that does not stand where it should."""

    of: DerivedMrr
    currency: str
    chain: Chain
    mrr: int

    @property
    def is_begun(self) -> bool:
        return is_begun(self.chain, exact=self.of.derived.record.exact)


async def write_mrr_history(connection: Connection, customers: Sequence[DerivedMrr]) -> None:
    """Bring billing.mrr_changes to end where billing.customer_mrr stands. What is not known leaves it as it is."""
    chains = await select_chains(connection, [each.derived.record.uid for each in customers])
    moved = [one for each in customers for one in _moved(each, chains.get(each.derived.record.uid, {}))]
    if not moved:
        return
    keys = {key for one in moved if one.is_begun for key in _subscriptions(one.of)}
    occasions = await select_last_causes(connection, sorted(keys)) if keys else {}
    taken_back: list[int] = []
    confirmed: list[int] = []
    appended: list[MrrChange] = []
    for one in moved:
        source, record = Mrr(one.of.facts), one.of.derived.record
        past = () if one.is_begun else source.past(one.currency, as_of=one.of.as_of)
        level, since = one.chain.start(exact=record.exact)
        if past:
            level, since = past[-1].mrr_after, past[-1].changed_at
        moment = moment_of_change(
            by=one.mrr - level,
            told_by_facts=source.moves(one.currency, as_of=one.of.as_of),
            told_by_events=_told_by_events(one.of, occasions),
            after=since,
            as_of=one.of.as_of,
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


def _moved(each: DerivedMrr, chains: Mapping[str, Chain]) -> list[_Moved]:
    """The customer's histories that end elsewhere, have something to be confirmed, or have not been looked at yet."""
    now = {row.currency: row.mrr for row in each.derived.mrr}
    found = []
    for currency in sorted(chains.keys() | Mrr(each.facts).currencies()):
        chain, mrr = chains.get(currency, Chain()), now.get(currency, 0)
        if mrr is None:
            continue
        if chain.ends_at != mrr or currency not in chains or (chain.tail and each.derived.record.exact):
            found.append(_Moved(of=each, currency=currency, chain=chain, mrr=mrr))
    return found


def _subscriptions(each: DerivedMrr) -> list[Key]:
    facts = each.facts
    return [Key(facts.account_id, facts.live_mode, "subscription", of.id) for of in facts.subscriptions]


def _told_by_events(each: DerivedMrr, occasions: Mapping[Key, LastCause]) -> list[datetime]:
    """When the events happened that last told of its subscriptions; a deadline or an audit tells no time."""
    found = [occasions[key] for key in _subscriptions(each) if key in occasions]
    return [occasion.event_created for occasion in of_events(found) if occasion.event_created is not None]
