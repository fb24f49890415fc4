"""The history of a customer's MRR: what a new record adds to it, confirms in it, or takes back from it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.history import Step, revise_history


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of the history; it begins where the one before ends."""

    mrr_before: int
    mrr_after: int
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The state of a stored history: the end of its confirmed part, and all unconfirmed steps, oldest first."""

    settled: bool = False  # something in it is confirmed
    ends_at: int = 0  # MRR after its last step
    changed_at: datetime | None = None  # of its last step
    settled_at: datetime | None = None  # of its last confirmed step
    tail: tuple[tuple[int, Change], ...] = ()  # id and step

    def start(self, *, exact: bool) -> tuple[int, datetime | None]:
        """The MRR, and its time, from which it goes on: an exact record begins again after the confirmed steps."""
        if not exact or not self.tail:
            return self.ends_at, self.changed_at
        return self.tail[0][1].mrr_before, self.settled_at


@dataclass(frozen=True, slots=True, kw_only=True)
class MrrRevision:
    """What happens to a history: steps to take back, steps to confirm, and steps to append, oldest first."""

    taken_back: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()
    appended: tuple[Change, ...] = ()


def is_begun(chain: Chain, *, exact: bool) -> bool:
    """Whether a history goes on from its end; otherwise it is rewritten from what the facts show of the past."""
    return chain.settled or (bool(chain.tail) and not exact)


def revise_mrr(
    chain: Chain, *, mrr: int, exact: bool, past: Sequence[Change], moment: datetime
) -> MrrRevision:
    """The changes after which a history ends at `mrr`.

    Before any step is confirmed, the history should equal `past`: a customer first seen in the middle began when its
    subscriptions began, not when we first saw it. Afterwards it is revised like the history of the status
    (`revise_history`), and an appended step happened at `moment`. Times never go back along a chain.
    """
    tail = [Step(id=number, before=step.mrr_before, after=step.mrr_after) for number, step in chain.tail]
    if not is_begun(chain, exact=exact):
        wanted = _ending_at(past, mrr, moment)
        if [step for _, step in chain.tail] == wanted:
            return MrrRevision(confirmed=tuple(number for number, _ in chain.tail))
        return MrrRevision(taken_back=tuple(number for number, _ in chain.tail), appended=tuple(wanted))
    revision = revise_history(tail, before=chain.ends_at, now=mrr, exact=exact)
    appended: tuple[Change, ...] = ()
    if revision.appended is not None:
        before, after = revision.appended
        _, last = chain.start(exact=exact)
        changed_at = moment if last is None else max(moment, last)
        appended = (Change(mrr_before=before, mrr_after=after, changed_at=changed_at),)
    return MrrRevision(taken_back=revision.taken_back, confirmed=revision.confirmed, appended=appended)


def _ending_at(past: Sequence[Change], mrr: int, moment: datetime) -> list[Change]:
    ends_at = past[-1].mrr_after if past else 0
    if ends_at == mrr:
        return list(past)
    changed_at = max(moment, past[-1].changed_at) if past else moment
    return [*past, Change(mrr_before=ends_at, mrr_after=mrr, changed_at=changed_at)]


def moment_of_change(
    *,
    by: int,
    moves: Iterable[tuple[datetime, Decimal]],
    event_moments: Iterable[datetime],
    after: datetime | None,
    as_of: datetime,
) -> datetime:
    """When the change that was just noticed happened; it is `by` so much a month, and the change before was at `after`.

    The facts state when something began or ended, though the news may come days later. If one such move, or all of
    them since `after` together, accounts for the whole change up to rounding, its moment counts. Otherwise the moment
    of the latest event counts, which may be in the very second of `after`; facts of that second belong to the change
    before. If nothing states a moment, it is `as_of`.
    """
    moved: defaultdict[datetime, Decimal] = defaultdict(Decimal)
    for moment, amount in moves:
        if after is None or moment > after:
            moved[moment] += amount
    moments = [moment for moment, amount in moved.items() if abs(amount - by) < 1]
    if not moments and abs(sum(moved.values(), Decimal(0)) - by) < 1:
        moments = list(moved)
    if not moments:
        moments = [each for each in event_moments if after is None or each >= after]
    return max(moments, default=as_of)
