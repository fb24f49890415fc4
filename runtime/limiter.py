"""The limiter: which request may go next, and when. Pure: it neither waits nor looks at a clock, it is told the time.

Each account, and each operation of an account, has a bucket; a request takes a token from both. A bucket holds few
tokens, so in no second do more requests pass than its limit, wherever that second begins: a token bucket that saves up
a whole second's worth would let twice as many pass. All workers of an account share its limits: `part` is this
worker's share, from 0 to 1, of what is there when some requests a second are left to web processes.

The live lane goes first, and the bulk lane takes what it leaves; where both want the same tokens, the bulk lane gets
one in five, so that neither starves. Within a lane the oldest request that can go goes first, so an operation that is
at its limit holds up no other.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import floor, inf

from runtime.limits import WEB_OPERATIONS, Limits

WINDOW_SECONDS = 1.0
"""Stripe counts requests a second."""
SLACK = 0.15
"""On their way requests may gain on each other: so many seconds' worth of them may arrive early."""
SAVED_SHARE = 0.1
"""How much of a second's requests may be saved up, and then go at once."""
BULK_CREDIT = 0.25
"""What the bulk lane earns when the live lane takes a token that both want: with a whole one it goes first."""
PLACES_MAX = 16
"""Requests of a lane under way at one time."""
FACTOR_MIN = 0.02
RECOVERY_SECONDS = 30.0
"""A limit that was halved is whole again after half of it."""
VOLLEY_SECONDS = 1.0
"""All requests under way hear the same refusal: it counts once."""
PAUSE_SECONDS = 0.5
BUCKETS_MAX = 2_000
ONE = 1.0 - 1e-9
"""A token, but for what additions of fractions lose."""


class Lane(StrEnum):
    """What a request is for: what a customer waits for, or histories, gap fills, backfills and audits."""

    LIVE = "live"
    BULK = "bulk"


@dataclass(eq=False, slots=True, kw_only=True)
class Ticket:
    """A request that wants to go."""

    lane: Lane
    account_id: str
    operation: str
    number: int
    passed: bool = False


@dataclass(slots=True)
class _Size:
    """What a bucket holds, and how fast it fills."""

    saved: float
    rate: float

    @property
    def reserve(self) -> float:
        """What the bulk lane leaves for the live lane."""
        return (self.saved - 1.0) / 2


def size_of(limit: float, part: float) -> _Size | None:
    """The bucket of a worker whose part of a limit (requests a second) this is; None if it is too small for any.

    A bucket that holds c and is filled at r lets ceil(c + r) - 1 requests pass in a second at most: so c + r is one
    more than this worker's whole number of requests, and the sum over all workers stays within the limit.
    """
    if limit == inf:
        return _Size(inf, inf)
    if limit < 1.0:  # fewer than one request a second: only of a lone worker
        return _Size(1.0, limit) if part >= 1.0 else None
    most = floor(limit * part + 1e-9)
    if most < 1:
        return None
    saved = max(1.0, SAVED_SHARE * most)
    return _Size(saved, (most + 1.0 - saved) / (1.0 + SLACK))


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes of all buckets."""

    account: _Size | None
    operation: _Size | None
    web_operation: _Size | None
    """Of an operation that web processes ask, too."""

    @property
    def any_none(self) -> bool:
        """Whether one is too small for any request."""
        return self.account is None or self.operation is None or self.web_operation is None

    def of(self, operation: str) -> _Size | None:
        """The size of this operation's bucket; '' is the account as a whole."""
        if not operation:
            return self.account
        return self.web_operation if operation in WEB_OPERATIONS else self.operation


@dataclass(slots=True)
class _Bucket:
    """Tokens of an account or of an operation. `factor` is below 1 after a refusal, and grows back."""

    level: float
    at: float
    factor: float = 1.0
    slowed_at: float = -inf
    places: float = inf
    """Requests under way at one time, limited only after Stripe has refused for their number."""
    narrowed_at: float = -inf
    under_way: int = 0
    credit: float = 0.0

    def fill(self, size: _Size | None, now: float) -> None:
        elapsed, self.at = max(now - self.at, 0.0), max(now, self.at)
        if self.factor < 1.0:
            self.factor = min(self.factor + elapsed / RECOVERY_SECONDS, 1.0)
        if self.places < inf:
            # One more a second; far above what was refused, it counts as without a limit.
            self.places += elapsed
            if self.places > 4 * PLACES_MAX:
                self.places = inf
        if size is None:
            self.level = 0.0
        elif size.rate < inf:
            self.level = min(self.level + elapsed * size.rate * self.factor, size.saved)
        elif self.factor < 1.0:
            # No limit is known, but Stripe has refused: one that is halved must be some number.
            self.level = min(self.level + elapsed * 100.0 * self.factor, 10.0)
        else:
            self.level = inf

    @property
    def is_idle(self) -> bool:
        return self.factor == 1.0 and self.places == inf and not self.under_way

    def seconds_to(self, wanted: float, size: _Size) -> float:
        """How long until it holds so many tokens."""
        if self.level >= wanted:
            return 0.0
        rate = (size.rate if size.rate < inf else 100.0) * self.factor
        return (wanted - self.level) / rate

    def slow_down(self, size: _Size | None, now: float) -> None:
        self.fill(size, now)
        if now - self.slowed_at < VOLLEY_SECONDS:
            return
        self.slowed_at = now
        self.factor = max(self.factor / 2, FACTOR_MIN)
        rate = 100.0 if size is None or size.rate == inf else size.rate
        self.level = min(self.level, 1.0 - PAUSE_SECONDS * rate * self.factor)

    def narrow(self, now: float) -> None:
        if now - self.narrowed_at < VOLLEY_SECONDS:
            return
        self.narrowed_at = now
        self.places = max(1.0, min(self.places, self.under_way) / 2)


_Key = tuple[str, str]
"""An account and one of its operations; '' for the account as a whole."""
_ANY = "any"
"""Stands for each operation that has no bucket of its own in `_fresh`."""


@dataclass(slots=True)
class _Line:
    """Requests of one lane, account and operation, the oldest first."""

    key: _Key
    lane: Lane
    tickets: deque[Ticket] = field(default_factory=deque)


class Limiter:
    """Decides which requests pass. `now` is in seconds, and never runs backwards."""

    def __init__(
        self, limits: Limits, *, now: float, part: float = 1.0, places_max: int = PLACES_MAX
    ) -> None:
        self._limits = limits
        self._part = part
        self._left = 0.0
        self._places_max = places_max
        self._sizes = self._sizes_at(part)
        # What a bucket that nobody has used yet holds: a part that has just grown brings no tokens with it.
        self._fresh: dict[str, _Bucket] = {}
        for operation in ("", _ANY, *WEB_OPERATIONS):
            size = self._sizes.of(operation)
            self._fresh[operation] = _Bucket(0.0 if size is None else size.saved, now)
        self._buckets: dict[_Key, _Bucket] = {}
        self._lines: dict[tuple[Lane, str, str], _Line] = {}
        self._under_way = dict.fromkeys(Lane, 0)
        self._numbers = 0
        self._troubled_until = -inf

    @property
    def part(self) -> float:
        """This worker's share of the limits."""
        return self._part

    @property
    def left(self) -> float:
        """Requests a second that all workers together leave to web processes."""
        return self._left

    @property
    def closed(self) -> bool:
        """Whether this worker's part is too small for any request: none passes until it grows."""
        return self._sizes.any_none

    @property
    def waiting(self) -> dict[Lane, int]:
        """How many requests wait."""
        counts = dict.fromkeys(Lane, 0)
        for line in self._lines.values():
            counts[line.lane] += len(line.tickets)
        return counts

    def requests_within(self, seconds: float) -> int:
        """How many requests of one operation can pass in this time at most."""
        if self.closed:
            return 0
        sizes = (self._sizes.account, self._sizes.operation, self._sizes.web_operation)
        return min(int(min(size.saved + size.rate * seconds, 1e9)) for size in sizes if size is not None)

    def set_part(self, part: float, now: float, *, left: float | None = None) -> None:
        """From now on this worker has another share of the limits, and all leave so much of them; None: as before."""
        for bucket, operation in self._all_buckets():
            bucket.fill(self._sizes.of(operation), now)
        self._part = part
        self._left = self._left if left is None else left
        self._sizes = self._sizes_at(part)
        for bucket, operation in self._all_buckets():
            bucket.fill(self._sizes.of(operation), now)

    def ask(self, lane: Lane, account_id: str, operation: str) -> Ticket:
        """A request that wants to go; `passing` says when it may."""
        self._numbers += 1
        ticket = Ticket(lane=lane, account_id=account_id, operation=operation, number=self._numbers)
        key = (lane, account_id, operation)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line((account_id, operation), lane)
        line.tickets.append(ticket)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """A request that waited does not want to go any more."""
        key = (ticket.lane, ticket.account_id, ticket.operation)
        line = self._lines[key]
        line.tickets.remove(ticket)
        if not line.tickets:
            del self._lines[key]

    def passing(self, now: float) -> list[Ticket]:
        """The requests that pass at this moment."""
        passed: list[Ticket] = []
        while (line := self._next_line(now)) is not None:
            ticket = line.tickets.popleft()
            if not line.tickets:
                del self._lines[line.lane, *line.key]
            ticket.passed = True
            passed.append(ticket)
        return passed

    def seconds_to_next(self, now: float) -> float | None:
        """How long until the next waiting request can pass; None if none waits, or only for an answer or a part."""
        if self.closed:
            return None
        lines = (line for line in self._lines.values() if self._has_places(line))
        return min((self._wait_of(line, now) for line in lines), default=None)

    def done(self, ticket: Ticket) -> None:
        """A request that had passed is over, whatever came of it."""
        self._under_way[ticket.lane] -= 1
        for key in ((ticket.account_id, ""), (ticket.account_id, ticket.operation)):
            self._buckets[key].under_way -= 1

    def refused(self, ticket: Ticket, reason: str, now: float) -> None:
        """Stripe has refused a request that passed, for this reason (`StripeUnavailable.limited_by`).

        A lock on one object says nothing about the rate. An unknown reason is taken to be about the operation.
        """
        if reason in ("lock_timeout", "resource-specific"):
            return
        self._troubled_until = now + 2 * RECOVERY_SECONDS
        is_account = reason.startswith("global")
        bucket = self._bucket((ticket.account_id, "" if is_account else ticket.operation), now)
        if reason.endswith("concurrency"):
            bucket.narrow(now)
        else:
            bucket.slow_down(self._sizes.of("" if is_account else ticket.operation), now)

    # Which one is next

    def _next_line(self, now: float) -> _Line | None:
        if self.closed:
            return None
        if self._limits.none and now > self._troubled_until:
            return self._next_line_without_limits(now)
        live: _Line | None = None
        bulk: _Line | None = None
        due: _Line | None = None
        for line in self._lines.values():
            if not self._has_places(line):
                continue
            account, operation = self._filled(line.key, now)
            if min(account.level, operation.level) < ONE:
                continue
            if line.lane is Lane.LIVE:
                live = _older(live, line)
                continue
            spare = [
                size.reserve == inf or bucket.level >= ONE + size.reserve
                for bucket, size in self._with_sizes(line.key[1], account, operation)
            ]
            if all(spare):
                bulk = _older(bulk, line)
            elif all(
                enough or bucket.credit >= 1.0
                for enough, bucket in zip(spare, (account, operation), strict=True)
            ):
                due = _older(due, line)
        chosen = due or live or bulk
        if chosen is not None:
            self._take(chosen, first_of_both=chosen is due)
        return chosen

    def _next_line_without_limits(self, now: float) -> _Line | None:
        """As above, in a fraction of the time."""
        chosen: _Line | None = None
        for line in self._lines.values():
            if self._under_way[line.lane] < self._places_max:
                chosen = _older(chosen, line)
        if chosen is not None:
            self._filled(chosen.key, now)
            self._take(chosen, first_of_both=False)
        return chosen

    def _take(self, line: _Line, *, first_of_both: bool) -> None:
        account_id, operation = line.key
        for key in ((account_id, ""), line.key):
            bucket = self._buckets[key]
            bucket.level -= 1.0
            bucket.under_way += 1
            if line.lane is Lane.LIVE and self._bulk_wants(account_id, operation if key[1] else None):
                bucket.credit = min(bucket.credit + BULK_CREDIT, 1.0)
            elif first_of_both:
                bucket.credit = max(bucket.credit - 1.0, 0.0)
        self._under_way[line.lane] += 1

    def _bulk_wants(self, account_id: str, operation: str | None) -> bool:
        if operation is not None:
            return (Lane.BULK, account_id, operation) in self._lines
        return any(line.lane is Lane.BULK and line.key[0] == account_id for line in self._lines.values())

    def _has_places(self, line: _Line) -> bool:
        if self._under_way[line.lane] >= self._places_max:
            return False
        for key in ((line.key[0], ""), line.key):
            bucket = self._buckets.get(key)
            if bucket is not None and bucket.under_way >= bucket.places:
                return False
        return True

    def _wait_of(self, line: _Line, now: float) -> float:
        account, operation = self._filled(line.key, now)
        waits = []
        for bucket, size in self._with_sizes(line.key[1], account, operation):
            wanted = 1.0
            if line.lane is Lane.BULK and size.reserve < inf and bucket.credit < 1.0:
                wanted += size.reserve
            waits.append(bucket.seconds_to(wanted, size))
        return max(waits)

    # Buckets

    def _with_sizes(self, name: str, account: _Bucket, operation: _Bucket) -> Iterator[tuple[_Bucket, _Size]]:
        for bucket, size in ((account, self._sizes.account), (operation, self._sizes.of(name))):
            if size is not None:
                yield bucket, size

    def _sizes_at(self, part: float) -> _Sizes:
        account, operation, left = self._limits.account, self._limits.operation, self._left
        return _Sizes(
            account=size_of(account - left, part),
            operation=size_of(operation, part),
            web_operation=size_of(operation - left, part),
        )

    def _all_buckets(self) -> Iterator[tuple[_Bucket, str]]:
        for operation, bucket in self._fresh.items():
            yield bucket, operation
        for (_, operation), bucket in self._buckets.items():
            yield bucket, operation

    def _filled(self, key: _Key, now: float) -> tuple[_Bucket, _Bucket]:
        return self._bucket((key[0], ""), now), self._bucket(key, now)

    def _bucket(self, key: _Key, now: float) -> _Bucket:
        size = self._sizes.of(key[1])
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._forget_idle(now, but=key[0])
            fresh = self._fresh.get(key[1]) or self._fresh[_ANY]
            fresh.fill(size, now)
            bucket = self._buckets[key] = _Bucket(fresh.level, now)
        else:
            bucket.fill(size, now)
        return bucket

    def _forget_idle(self, now: float, *, but: str) -> None:
        """Forget the full buckets: of thousands of accounts few are asked at a time.

        Those of one account stay, and those of every account that has a request waiting: it is about to use them.
        """
        kept = {but, *(line.key[0] for line in self._lines.values())}
        for key, bucket in list(self._buckets.items()):
            if key[0] in kept:
                continue
            size = self._sizes.of(key[1])
            bucket.fill(size, now)
            if bucket.is_idle and (size is None or bucket.level >= size.saved):
                del self._buckets[key]


def _older(one: _Line | None, other: _Line) -> _Line:
    return other if one is None or other.tickets[0].number < one.tickets[0].number else one
