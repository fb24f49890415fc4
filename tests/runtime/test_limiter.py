"""The limiter: in no second more than the limits, the live lane first, nobody starves; by generated schedules."""

from collections import Counter
from dataclasses import dataclass, field
from math import floor, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import limiter as limiter_module
from runtime.limiter import SLACK, Lane, Limiter, Ticket, size_of
from runtime.limits import NO_LIMITS, Limits, limits_of, meter_limits_of, operation_of

LIMITS = limits_of(100.0, live_mode=True)
OPERATIONS = ("GET /v1/invoices", "GET /v1/invoices/{id}", "GET /v1/customers/{id}")


@dataclass(eq=False)
class Player:
    """One worker's limiter on a clock of ours; each request is answered after `answer_seconds`."""

    limiter: Limiter
    now: float = 0.0
    answer_seconds: float = 0.08
    passed: list[tuple[float, Ticket]] = field(default_factory=list)
    under_way: list[tuple[float, Ticket]] = field(default_factory=list)

    def ask(self, count: int, lane: Lane = Lane.LIVE, operation: str = OPERATIONS[0]) -> list[Ticket]:
        return [self.limiter.ask(lane, "", operation) for _ in range(count)]

    def run(self, until: float) -> None:
        """Let pass what may pass, as its moments come."""
        while True:
            for ticket in self.limiter.passing(self.now):
                self.passed.append((self.now, ticket))
                self.under_way.append((self.now + self.answer_seconds, ticket))
            wait = self.limiter.seconds_to_next(self.now)
            moments = [each for each, _ in self.under_way]
            moments += [] if wait is None else [self.now + max(wait, 1e-6)]
            following = min(moments, default=inf)
            if following > until:
                self.now = until
                return
            self.now = following
            for over in [each for each in self.under_way if each[0] <= self.now]:
                self.under_way.remove(over)
                self.limiter.done(over[1])

    def at(self, ticket: Ticket) -> float:
        """When a request passed."""
        return next(moment for moment, each in self.passed if each is ticket)


def most_in_a_window(moments: list[float], seconds: float = 1.0) -> int:
    """The most moments in any half-open stretch of this length."""
    moments = sorted(moments)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


ASKS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5]),  # the pause before
        st.sampled_from([1, 3, 40]),
        st.sampled_from(Lane),
        st.sampled_from(OPERATIONS),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    asks=ASKS, account=st.sampled_from([0.5, 3.0, 25.0, 100.0]), operation=st.sampled_from([0.5, 25.0, 40.0])
)
def test_no_second_sees_more_than_the_limits(
    asks: list[tuple[float, int, Lane, str]], account: float, operation: float
) -> None:
    """Whatever is asked for when: in no second, wherever it begins, does more pass than the limits; and all pass."""
    player = Player(Limiter(Limits(account=account, operation=operation), now=0.0), answer_seconds=0.01)
    for pause, count, lane, name in asks:
        player.run(player.now + pause)
        player.ask(count, lane, name)
    player.run(player.now + 3000.0)

    assert sum(count for _, count, _, _ in asks) == len(player.passed)
    # A bit more than a second: on their way, requests may gain on each other.
    seconds = 1.0 + SLACK - 1e-6
    assert most_in_a_window([moment for moment, _ in player.passed], seconds) <= max(floor(account), 1)
    for name in OPERATIONS:
        moments = [moment for moment, ticket in player.passed if ticket.operation == name]
        assert most_in_a_window(moments, seconds) <= max(floor(operation), 1)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    limit=st.sampled_from([15.0, 25.0, 60.0, 100.0]),
)
def test_the_parts_of_all_workers_keep_within_the_whole(weights: list[int], limit: float) -> None:
    """However the limit is shared, all workers together let no more pass in a second, even all at their best."""
    players = [
        Player(Limiter(Limits(account=limit, operation=limit), now=0.0, part=weight / sum(weights)))
        for weight in weights
    ]
    for player in players:
        player.ask(400)
        player.run(3.0)
    moments = [moment for player in players for moment, _ in player.passed]
    assert most_in_a_window(moments) <= limit
    assert len(moments) > 0.3 * 3.0 * limit or len(weights) > 3


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from([0.05, 0.4, 1.0, 1.5]), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])),
        max_size=8,
    )
)
def test_a_change_of_the_part_lets_no_burst_pass(changes: list[tuple[float, float]]) -> None:
    """While a worker's part changes, it never lets more pass in a second than the greatest part of that second."""
    player = Player(Limiter(LIMITS, now=0.0, part=0.5))
    history = [(0.0, 0.5)]
    player.ask(300, operation=OPERATIONS[0])
    player.ask(300, operation=OPERATIONS[1])
    for pause, part in changes:
        player.run(player.now + pause)
        player.limiter.set_part(part, player.now)
        history.append((player.now, part))
    player.run(player.now + 2.0)
    moments = sorted(moment for moment, _ in player.passed)
    for begin in moments:
        before = [part for at, part in history if at < begin][-1:]
        greatest = max(before + [part for at, part in history if begin <= at < begin + 1.0])
        assert sum(begin <= moment < begin + 1.0 for moment in moments) <= 100 * greatest


def test_a_part_that_grows_from_nothing_brings_no_tokens() -> None:
    """Another worker has just used what this one gets now: an operation not asked for before starts empty, too."""
    limiter = Limiter(LIMITS, now=0.0, part=0.0)
    assert limiter.closed
    player = Player(limiter)
    player.ask(10)
    player.run(5.0)
    assert [] == player.passed
    limiter.set_part(1.0, 5.0)
    assert [] == limiter.passing(5.0)
    player.run(5.2)
    assert player.passed


def test_an_operation_at_its_limit_holds_up_no_other() -> None:
    """Lists of a kind and reads by id are counted apart: what waits for one does not wait for the other."""
    player = Player(Limiter(LIMITS, now=0.0))
    player.ask(200, operation=OPERATIONS[0])
    (other,) = player.ask(1, operation=OPERATIONS[1])
    player.run(0.5)
    assert 0.0 == player.at(other)


def test_lanes_borrow_what_the_other_leaves() -> None:
    """A lane that is alone gets the whole limit: as much for a backfill as for events."""
    counts = {}
    for lane in Lane:
        player = Player(Limiter(LIMITS, now=0.0))
        for operation in ("a", "b", "c", "d", "e", "f"):
            player.ask(400, lane, operation)
        player.run(10.0)
        counts[lane] = len(player.passed)
    assert counts[Lane.LIVE] > 0.75 * 1000
    assert counts[Lane.BULK] > 0.95 * counts[Lane.LIVE]


@settings(max_examples=15, deadline=None)
@given(moments=st.lists(st.floats(1.0, 4.0), min_size=1, max_size=5), same=st.booleans())
def test_a_live_read_does_not_wait_for_a_backfill(moments: list[float], same: bool) -> None:
    """Whatever the bulk lane still wants: a read for an event waits for one request of the bulk lane at most."""
    player = Player(Limiter(LIMITS, now=0.0))
    for operation in (*OPERATIONS[:2], "GET /v1/charges", "GET /v1/prices", "GET /v1/plans"):
        player.ask(200, Lane.BULK, operation)
    waits = []
    for moment in sorted(moments):
        player.run(max(moment, player.now))
        (ticket,) = player.ask(1, Lane.LIVE, OPERATIONS[0] if same else OPERATIONS[2])
        asked = player.now
        player.run(player.now + 0.5)
        waits.append(player.at(ticket) - asked)
    size = size_of(25.0, 1.0)
    assert size is not None
    assert max(waits) <= (1.0 / size.rate if same else 0.025)


@pytest.mark.parametrize("operation", ["the same", "another"])
def test_bulk_does_not_starve(operation: str) -> None:
    """While events keep the live lane full, every fifth token goes to the bulk lane."""
    player = Player(Limiter(LIMITS, now=0.0), answer_seconds=0.05)
    for name in ("the same", "a", "b", "c", "d", "e", "f"):
        player.ask(1_000, Lane.LIVE, name)
    player.ask(1_000, Lane.BULK, operation)
    player.run(10.0)
    counts = Counter(ticket.lane for _, ticket in player.passed if ticket.operation == operation)
    if operation == "the same":
        assert counts[Lane.LIVE] > 2 * counts[Lane.BULK] > 0
    assert 0.1 * len(player.passed) / 7 < counts[Lane.BULK] < 0.25 * len(player.passed)


def test_first_come_first_served_within_an_operation() -> None:
    """Of one operation the older request goes first."""
    player = Player(Limiter(LIMITS, now=0.0))
    tickets = player.ask(60)
    player.run(10.0)
    assert tickets == [ticket for _, ticket in player.passed]


@pytest.mark.parametrize(
    ("reason", "shares"),
    [
        ("global-rate", (0.7, 0.7)),
        ("endpoint-rate", (0.7, 1.0)),
        ("something new", (0.7, 1.0)),
        ("lock_timeout", (1.0, 1.0)),
        ("resource-specific", (1.0, 1.0)),
    ],
)
def test_a_refusal_slows_what_it_names(reason: str, shares: tuple[float, float]) -> None:
    """An account's limit slows everything, an operation's slows that operation, a lock on one object slows nothing."""

    def passed(*, refused: bool) -> list[int]:
        player = Player(Limiter(Limits(account=41.0, operation=20.0), now=0.0))
        (ticket,) = player.ask(1, operation=OPERATIONS[0])
        player.run(5.0)
        for _ in range(10 if refused else 0):  # all requests under way hear the same refusal: it counts once
            player.limiter.refused(ticket, reason, player.now)
        for operation in OPERATIONS[:2]:
            player.ask(100, operation=operation)
        player.run(8.0)
        return [sum(each.operation == name for _, each in player.passed) for name in OPERATIONS[:2]]

    plain, after = passed(refused=False), passed(refused=True)
    if reason == "global-rate":  # the older requests go first, so only the sum says how many were let pass
        plain, after = [sum(plain)], [sum(after)]
    for before, now, share in zip(plain, after, shares, strict=False):
        assert before * share * 0.5 < now <= before * share


def test_a_refusal_for_concurrency_narrows_and_widens_again() -> None:
    """Half as many under way as were refused; each second one more."""
    player = Player(Limiter(NO_LIMITS, now=0.0), answer_seconds=1e9)
    tickets = player.ask(40)
    player.run(0.0)
    assert 16 == len(player.passed)
    player.limiter.refused(tickets[0], "endpoint-concurrency", 0.0)
    for ticket in tickets[:12]:
        player.limiter.done(ticket)
    player.run(0.0)
    assert 16 + 4 == len(player.passed)  # four were still under way, and eight may be
    (other,) = player.ask(1, operation=OPERATIONS[1])
    player.run(0.0)
    assert other.passed
    player.now = 4.0
    for ticket in tickets[12:17]:
        player.limiter.done(ticket)
    player.run(4.0)
    assert 16 + 4 + 1 + 9 == len(player.passed)  # three were still under way, and by now twelve may be


def test_a_limit_is_whole_again_after_half_a_minute() -> None:
    """However often Stripe refuses, something is tried; and a limit once halved grows back."""
    player = Player(Limiter(LIMITS, now=0.0))
    (ticket,) = player.ask(1)
    player.run(1.0)
    for _ in range(20):
        player.run(player.now + 2.0)
        player.limiter.refused(ticket, "global-rate", player.now)
    player.ask(2_000)
    began, before = player.now, len(player.passed)
    player.run(began + 10.0)
    assert len(player.passed) > before
    player.run(began + 40.0)
    before = len(player.passed)
    player.run(began + 50.0)
    assert len(player.passed) - before > 0.75 * 10 * LIMITS.operation


def test_connected_accounts_are_counted_apart() -> None:
    """Stripe's limits are those of one account: what one is asked takes nothing from another."""
    limiter = Limiter(LIMITS, now=0.0)
    for account_id in ("", "acct_1", "acct_2"):
        for _ in range(2):
            limiter.ask(Lane.LIVE, account_id, OPERATIONS[0])
    assert 6 == len(limiter.passing(0.0))


def test_thousands_of_accounts_are_forgotten_again() -> None:
    """The buckets of accounts that were asked long ago are not kept."""
    limiter = Limiter(LIMITS, now=0.0)
    for number in range(5_000):
        for operation in OPERATIONS[: 1 + number % 2]:
            limiter.ask(Lane.LIVE, f"acct_{number}", operation)
        for ticket in limiter.passing(float(number)):
            limiter.done(ticket)
    assert len(limiter._buckets) <= 2_003


def test_a_bucket_that_a_waiting_request_needs_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """While buckets are forgotten to make room, those of every account that waits stay: its request passes."""
    monkeypatch.setattr(limiter_module, "BUCKETS_MAX", 6)
    limiter = Limiter(LIMITS, now=0.0)
    for account_id in ("acct_waits", "acct_1", "acct_2"):
        limiter.ask(Lane.LIVE, account_id, OPERATIONS[0])
    for ticket in limiter.passing(0.0):
        limiter.done(ticket)
    for _ in range(3):
        limiter.ask(Lane.LIVE, "acct_waits", OPERATIONS[0])
    for ticket in limiter.passing(0.0):
        limiter.done(ticket)
    waiting = sum(limiter.waiting.values())
    assert waiting
    limiter.ask(Lane.LIVE, "acct_new", OPERATIONS[0])
    passed = limiter.passing(5.0)
    assert {"acct_waits", "acct_new"} == {ticket.account_id for ticket in passed}
    assert {"acct_waits", "acct_new"} == {account_id for account_id, _ in limiter._buckets}


def test_a_bucket_in_use_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request is under way the buckets of its account stay, however full they are: it is taken off them when it
    is over.
    """
    monkeypatch.setattr(limiter_module, "BUCKETS_MAX", 2)
    limiter = Limiter(LIMITS, now=0.0)
    slow = limiter.ask(Lane.LIVE, "acct_slow", OPERATIONS[0])
    assert [slow] == limiter.passing(0.0)
    for moment, account_id in ((60.0, "acct_1"), (120.0, "acct_2")):
        ticket = limiter.ask(Lane.LIVE, account_id, OPERATIONS[0])
        assert [ticket] == limiter.passing(moment)
        limiter.done(ticket)
    limiter.done(slow)
    limiter.ask(Lane.LIVE, "acct_3", OPERATIONS[0])
    limiter.passing(180.0)
    assert {"acct_3"} == {account_id for account_id, _ in limiter._buckets}


@pytest.mark.parametrize(
    ("rate", "of_one", "live_mode", "limits"),
    [
        (100.0, None, True, (100.0, 25.0)),
        (60.0, None, True, (60.0, 15.0)),
        (15.0, None, False, (15.0, 15.0)),
        (400.0, None, True, (400.0, 25.0)),
        (60.0, 40.0, True, (60.0, 40.0)),
        (10.0, 40.0, True, (10.0, 10.0)),
    ],
)
def test_the_limit_of_an_operation(
    rate: float, of_one: float | None, live_mode: bool, limits: tuple[float, float]
) -> None:
    """Of an operation the same share as of the account, of what Stripe publishes: in live mode 100 a second and 25, in
    a sandbox 25 of both; what the operator says counts, but never more than of the account.
    """
    found = limits_of(rate, of_one, live_mode=live_mode)
    assert limits == (found.account, found.operation)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/invoices/in_1?expand[]=payments", "GET /v1/invoices/{id}"),
        ("/v1/invoices?limit=100&created[gte]=1", "GET /v1/invoices"),
        ("/v1/coupons/SUMMER", "GET /v1/coupons/{id}"),
        ("/v1/customers/cus_1/tax_ids?limit=100", "GET /v1/customers/{id}/tax_ids"),
        ("/v1/customers/cus_1/tax_ids/txi_1", "GET /v1/customers/{id}/tax_ids/{id}"),
        ("/v1/checkout/sessions/cs_1/line_items", "GET /v1/checkout/sessions/{id}/line_items"),
        ("/v1/entitlements/active_entitlements?customer=cus_1", "GET /v1/entitlements/active_entitlements"),
        ("/v1/billing/meters/mtr_1/event_summaries", "GET /v1/billing/meters/{id}/event_summaries"),
        ("/v1/test_helpers/test_clocks", "GET /v1/test_helpers/test_clocks"),
        ("/v1/invoices/create_preview", "GET /v1/invoices/create_preview"),
        ("/v1/account", "GET /v1/account"),
    ],
)
def test_operations_are_told_apart(path: str, operation: str) -> None:
    """What Stripe counts together is one operation, whatever id it names."""
    assert operation == operation_of("GET", path)


def test_meter_events_have_limits_of_their_own() -> None:
    """In live mode ten times as many as requests, in the same part; in a sandbox they count with all others."""
    live = meter_limits_of(limits_of(60.0, live_mode=True), live_mode=True)
    assert Limits(account=600.0, operation=600.0) == live
    assert None is meter_limits_of(limits_of(15.0, live_mode=False), live_mode=False)
    assert None is meter_limits_of(NO_LIMITS, live_mode=True)
