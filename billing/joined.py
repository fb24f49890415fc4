"""Several customers of Stripe's that are one: what is derived of each is added up to the record of the main one.

The rules are those of one customer: whether it was deleted, its discount and its test clock concern only its own
subscriptions. The order in which customers were joined does not matter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from billing.currencies import storable
from billing.entities import CustomerEntity
from billing.facts import CustomerFacts
from billing.features import CustomerFeature
from billing.grants import Grant
from billing.mrr import CustomerMrr, Mrr
from billing.mrr_history import Change
from billing.products import CustomerProduct
from billing.record import CustomerRecord, Derived, derive_record
from billing.revenue import Revenue, main_revenue
from billing.status import Policy, Status, better_of, is_live

T = TypeVar("T")
Value = TypeVar("Value")


def derive_joined(
    main: CustomerFacts, others: Sequence[CustomerFacts], *, as_of: datetime, policy: Policy
) -> Derived:
    """The record of these customers; that of the main one, if there are no others. Never raises, like the rules."""
    first = derive_record(main, as_of=as_of, policy=policy)
    if not others:
        return first
    ordered = sorted(others, key=lambda each: each.customer_id)
    return join_derived(
        [first, *(derive_record(_as_part_of(main, each), as_of=as_of, policy=policy) for each in ordered)]
    )


def _as_part_of(main: CustomerFacts, other: CustomerFacts) -> CustomerFacts:
    """The other one's facts with the main one's identity: who it is, and what was set here, is the same for both. What
    is on its way to Stripe is told to each by itself.
    """
    if main.identity is None:
        return other
    pushed = {} if other.identity is None else other.identity.pushed
    return replace(other, identity=replace(main.identity, pushed=pushed))


def join_derived(wholes: Sequence[Derived]) -> Derived:
    """What was derived of each customer, added up; the main one's comes first, and all are under its uid."""
    if len(wholes) == 1:
        return wholes[0]
    main, uid = wholes[0], wholes[0].record.uid
    theirs = [
        problem
        for whole in wholes[1:]
        for problem in whole.problems
        # Whose name it is follows from the main one alone.
        if not problem.kind.startswith("custom_uid")
    ]
    return replace(
        main,
        record=_record_of(wholes),
        products=tuple(
            sorted((replace(row, customer_uid=uid) for whole in wholes for row in whole.products), key=_place)
        ),
        revenue=_revenue_of(wholes),
        features=_features_of(wholes),
        entities=_entities_of(wholes),
        mrr=_mrr_of(wholes),
        problems=tuple(sorted({*main.problems, *theirs})),
        precedence=max((whole.precedence for whole in wholes if whole.precedence is not None), default=None),
        grant=_grant(wholes),
        deciding_subscription_id=_deciding(wholes).deciding_subscription_id,
        metered=any(whole.metered for whole in wholes),
        rederive_at=min((each.rederive_at for each in wholes if each.rederive_at is not None), default=None),
    )


def _place(row: CustomerProduct) -> tuple[str, str]:
    return row.stripe_subscription_id, row.stripe_product_id


def _deciding(wholes: Sequence[Derived]) -> Derived:
    """The customer with the current subscription; the main one, if none ever started."""
    started = [whole for whole in wholes if whole.precedence is not None]
    return max(started, key=lambda whole: whole.precedence or (), default=wholes[0])


def _grant(wholes: Sequence[Derived]) -> Grant | None:
    """The grant that runs: a subscription of any of them outranks it."""
    if is_live(_deciding(wholes).record.status):
        return None
    granted = [whole.grant for whole in wholes if whole.grant is not None]
    return max(granted, key=lambda grant: (grant.end, grant.product_id or ""), default=None)


def _record_of(wholes: Sequence[Derived]) -> CustomerRecord:
    deciding = _deciding(wholes).record
    records = [whole.record for whole in wholes]
    alive = next((record for record in records if record.deleted_at is None), records[0])
    main = main_revenue(_revenue_of(wholes))
    deleted = [record.deleted_at for record in records if record.deleted_at is not None]
    product_id, version = deciding.product_id, deciding.product_version_number
    grant = _grant(wholes)
    if grant is not None and grant.product_id is not None:
        product_id, version = grant.product_id, None
    live = is_live(deciding.status)
    return replace(
        records[0],
        name=alive.name,
        email=alive.email,
        description=alive.description,
        metadata=alive.metadata,
        status=deciding.status,
        # A subscription outranks the grants of the others, too.
        has_access=any(each.record.has_access for each in wholes if not live or each.grant is None),
        product_id=product_id,
        product_version_number=version,
        stripe_product_id=deciding.stripe_product_id,
        stripe_price_id=deciding.stripe_price_id,
        stripe_subscription_id=deciding.stripe_subscription_id,
        quantity=deciding.quantity,
        lifetime_revenue=0 if main is None else main.net,
        revenue_currency=None if main is None else main.currency,
        renewal_number=deciding.renewal_number,
        is_trial=deciding.is_trial,
        trial_end=deciding.trial_end,
        sandbox_end=_latest(record.sandbox_end for record in records),
        subscription_date=deciding.subscription_date,
        first_seen=min((each.first_seen for each in records if each.first_seen is not None), default=None),
        last_seen=_latest(record.last_seen for record in records),
        exact=all(record.exact for record in records),
        deleted_at=max(deleted) if len(deleted) == len(records) else None,
    )


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _sum(amounts: Iterable[int | None]) -> int | None:
    """None if one of them is not known, or a bigint cannot hold the sum."""
    total = 0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return storable(total)


def _grouped(rows: Iterable[T], key: Callable[[T], str]) -> Iterator[list[T]]:
    """The rows that share a key, in the order of keys; those of one key in their order."""
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return (groups[each] for each in sorted(groups))


def _revenue_of(wholes: Sequence[Derived]) -> tuple[Revenue, ...]:
    rows = [row for whole in wholes for row in whole.revenue]
    joined = [
        replace(
            same[0],
            customer_uid=wholes[0].record.uid,
            stripe_customer_id=wholes[0].customer_id,
            gross=_sum(row.gross for row in same),
            refunded=_sum(row.refunded for row in same),
            disputed=_sum(row.disputed for row in same),
            out_of_band=_sum(row.out_of_band for row in same),
            net=_sum(row.net for row in same),
        )
        for same in _grouped(rows, lambda row: row.currency)
    ]
    return tuple(
        row for row in joined if (row.gross, row.refunded, row.disputed, row.out_of_band) != (0, 0, 0, 0)
    )


def _mrr_of(wholes: Sequence[Derived]) -> tuple[CustomerMrr, ...]:
    rows = [row for whole in wholes for row in whole.mrr]
    return tuple(
        replace(
            same[0],
            customer_uid=wholes[0].record.uid,
            stripe_customer_id=wholes[0].customer_id,
            mrr=_sum(row.mrr for row in same),
            subscriptions=sum(row.subscriptions for row in same),
        )
        for same in _grouped(rows, lambda row: row.currency)
    )


def _features_of(wholes: Sequence[Derived]) -> tuple[CustomerFeature, ...]:
    rows = [row for whole in wholes for row in whole.features]
    uid = wholes[0].record.uid
    return tuple(replace(same[0], customer_uid=uid) for same in _grouped(rows, lambda row: row.feature_id))


def _entities_of(wholes: Sequence[Derived]) -> tuple[CustomerEntity, ...]:
    rows = [row for whole in wholes for row in whole.entities]
    return tuple(
        replace(
            same[0],
            customer_uid=wholes[0].record.uid,
            type=next((row.type for row in same if row.type), None),
            name=next((row.name for row in same if row.name), None),
            created_at=min((row.created_at for row in same if row.created_at is not None), default=None),
        )
        for same in _grouped(rows, lambda row: row.id)
    )


class JoinedMrr:
    """The MRR that the facts of several customers imply: the sum at each moment."""

    def __init__(self, parts: Sequence[Mrr]) -> None:
        self._parts = parts

    def prepare(self, *, as_of: datetime) -> None:
        """Compute now what `moves` and `past` will ask for."""
        for part in self._parts:
            part.prepare(as_of=as_of)

    def currencies(self) -> set[str]:
        """The currencies of all their subscriptions."""
        return {currency for part in self._parts for currency in part.currencies()}

    def past(self, currency: str, *, as_of: datetime) -> tuple[Change, ...]:
        """How today's MRR in this currency came about, as far as the facts alone show."""
        return join_changes([part.past(currency, as_of=as_of) for part in self._parts])

    def moves(self, currency: str, *, as_of: datetime) -> list[tuple[datetime, Decimal]]:
        """The changes of MRR in this currency that the facts show, and by how much each changed the sum; unordered."""
        return [move for part in self._parts for move in part.moves(currency, as_of=as_of)]


# Histories


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusStep:
    """One confirmed change of a customer's status, and what caused it."""

    before: Status | None
    after: Status | None
    changed_at: datetime
    event_id: str | None
    source: str


def join_changes(histories: Sequence[Sequence[Change]]) -> tuple[Change, ...]:
    """The history of the sum of these histories of MRR. Steps that change nothing are left out."""
    return tuple(
        Change(mrr_before=before, mrr_after=after, changed_at=step.changed_at)
        for step, before, after in _steps(
            histories,
            when=lambda step: step.changed_at,
            ends=lambda step: (step.mrr_before, step.mrr_after),
            joined=sum,
            nothing=0,
        )
    )


def join_status_steps(histories: Sequence[Sequence[StatusStep]]) -> tuple[StatusStep, ...]:
    """The history of the better of these statuses. Steps that change nothing are left out."""
    return tuple(
        replace(step, before=before, after=after)
        for step, before, after in _steps(
            histories,
            when=lambda step: step.changed_at,
            ends=lambda step: (step.before, step.after),
            joined=better_of,
            nothing=None,
        )
    )


def _steps(
    histories: Sequence[Sequence[T]],
    *,
    when: Callable[[T], datetime],
    ends: Callable[[T], tuple[Value, Value]],
    joined: Callable[[Iterable[Value]], Value],
    nothing: Value,
) -> Iterator[tuple[T, Value, Value]]:
    """The steps after which the joined value differs, each with that value before and after it.

    What happens to several customers at one moment is one step: no order of it is known.
    """
    levels = [ends(history[0])[0] if history else nothing for history in histories]
    at: dict[datetime, dict[int, list[T]]] = {}
    for number, history in enumerate(histories):
        for step in history:
            at.setdefault(when(step), {}).setdefault(number, []).append(step)
    before = joined(levels)
    for moment in sorted(at):
        moving = at[moment]
        if len(moving) == 1:
            ((number, steps),) = moving.items()
            for step in steps:
                levels[number] = ends(step)[1]
                after = joined(levels)
                if after != before:
                    yield step, before, after
                before = after
            continue
        for number, steps in moving.items():
            levels[number] = ends(steps[-1])[1]
        after = joined(levels)
        if after != before:
            last = [steps[-1] for _, steps in sorted(moving.items())]
            yield next((step for step in last if ends(step)[1] == after), last[0]), before, after
        before = after
