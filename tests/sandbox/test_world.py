"""The simulated account is one world per seed, and what it says about itself agrees with what stories say by hand."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from sandbox import MIXED, OLD, STORIES, Sandbox, Stage, Story, StoryBrokenError
from sandbox.objects import BalanceTransaction, Charge, Payout, Refund
from sandbox.periods import DAY, HOUR, add_intervals, boundary_after, instant

CASES = [
    *(f"B{n}" for n in range(21, 54)),
    *(f"C{n}" for n in range(54, 63)),
    *(f"D{n}" for n in range(63, 80)),
    *(f"E{n}" for n in range(80, 108)),
]


def whole_cast(seed: int | str = 1, **terms: object) -> Sandbox:
    sandbox = Sandbox(seed, **terms)  # type: ignore[arg-type]
    sandbox.play()
    sandbox.run()
    return sandbox


@cache
def lived() -> Sandbox:
    """A whole cast that is only looked at."""
    return whole_cast()


def alone(plot_name: str, seed: int = 1) -> tuple[Sandbox, list[str]]:
    """One story by itself, and the types of its events in order."""
    sandbox = Sandbox(seed)
    sandbox.play(plot_name)
    return sandbox, [event.type for event in sandbox.run()]


@pytest.mark.parametrize("name", sorted(STORIES))
def test_each_story_plays_to_its_end(name: str) -> None:
    """Played alone, with two seeds, each story meets what it expects by hand and brings its customers."""
    for seed in (1, 2):
        sandbox = Sandbox(seed)
        sandbox.play(name)
        sandbox.run()
        assert STORIES[name].customers == len(sandbox.truth())
        assert STORIES[name].sentence.endswith(".")


def test_every_case_is_played() -> None:
    """Each case of the chapters on status, current subscription, renewals and revenue has a story."""
    played = {case for story in STORIES.values() for case in story.covers}
    assert [] == [case for case in CASES if case not in played]


def test_same_seed_same_world() -> None:
    """The same seed gives the same event bytes and the same truth."""
    one, two = whole_cast(event_versions=MIXED), whole_cast(event_versions=MIXED)
    assert [event.body for event in one.events] == [event.body for event in two.events]
    assert one.truth() == two.truth()


def test_other_seed_other_world() -> None:
    one, two = lived(), whole_cast(2)
    assert not {event.id for event in one.events} & {event.id for event in two.events}
    assert not one.truth().keys() & two.truth().keys()


def test_steps_of_the_clock_do_not_matter() -> None:
    """A world that is advanced hour by hour equals one that is advanced in one step."""
    small, leap = Sandbox(5), Sandbox(5)
    for sandbox in (small, leap):
        sandbox.play(customers=150)
    for _ in range(50 * 24):
        small.advance(HOUR)
    leap.advance(50 * DAY)
    assert [event.body for event in leap.events] == [event.body for event in small.events]
    assert leap.truth() == small.truth()


def test_forgotten_events_do_not_matter() -> None:
    """A long play forgets its events as it goes: no story looks for an old one."""
    sandbox = Sandbox(1)
    sandbox.play()
    while sandbox.playing:
        sandbox.step()
        sandbox.forget_events(keep=0)
    assert lived().truth() == sandbox.truth()


def test_versions_change_payloads_only() -> None:
    """The API version of the endpoint changes how events look, not what happens."""
    new, old = lived(), whole_cast(event_versions=OLD)
    assert [(event.id, event.type) for event in new.events] == [
        (event.id, event.type) for event in old.events
    ]
    assert new.truth() == old.truth()


def test_a_wrong_truth_breaks_the_story() -> None:
    """A story with a wrong expectation breaks: expectations can fail."""

    def plot(stage: Stage) -> Iterator[int]:
        customer = stage.customer()
        yield 1
        stage.expect(customer, status="active")

    sandbox = Sandbox(1)
    sandbox.play(Story(name="wrong", sentence="", covers=(), defines=(), customers=1, plot=plot))
    with pytest.raises(StoryBrokenError, match="status is None, should be 'active'"):
        sandbox.run()


def test_sign_up_burst() -> None:
    """A paid sign-up leaves the events that Stripe sends, within two seconds."""
    sandbox, types = alone("one_payment")
    assert {
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    } <= set(types)
    created = [event.created for event in sandbox.events]
    assert max(created) - min(created) <= 2


def test_renewal_moves_the_period_before_the_money() -> None:
    """At the boundary the period moves and a draft is made; an hour later it is finalised and paid."""
    sandbox, _ = alone("three_renewals")
    bodies = [json.loads(event.body) for event in sandbox.events]
    drafts = [body for body in bodies if body["type"] == "invoice.created"][1:]
    paid = [body for body in bodies if body["type"] == "invoice.paid"][1:]
    assert ["draft"] * 4 == [body["data"]["object"]["status"] for body in drafts]
    assert 3 == len(paid)
    for draft, payment in zip(drafts, paid, strict=False):
        assert HOUR <= payment["created"] - draft["data"]["object"]["created"] <= HOUR + 2
        assert draft["data"]["object"]["period_end"] == draft["data"]["object"]["created"]


def test_trial_end_invoice_has_the_trial_as_its_period() -> None:
    """The first paid invoice after a trial is a cycle invoice whose window is the trial and whose line is the month."""
    sandbox, _ = alone("trial_converts")
    invoices = [
        json.loads(event.body)["data"]["object"]
        for event in sandbox.events
        if event.type == "invoice.created"
    ]
    first, second = invoices
    assert ("subscription_create", 0) == (first["billing_reason"], first["total"])
    assert ("subscription_cycle", 2000) == (second["billing_reason"], second["total"])
    assert first["lines"]["data"][0]["period"]["end"] == second["period_end"]
    assert second["lines"]["data"][0]["period"]["start"] == second["period_end"]


def test_updated_events_tell_what_changed() -> None:
    """previous_attributes holds the old values of the fields that changed, and only those."""
    sandbox, _ = alone("cancellation_taken_back")
    updates = [
        json.loads(event.body)["data"]
        for event in sandbox.events
        if event.type == "customer.subscription.updated"
    ]
    canceled, kept = [data for data in updates if "cancel_at_period_end" in data["previous_attributes"]]
    assert canceled["previous_attributes"] == {
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"reason": None},
    }
    assert kept["previous_attributes"]["cancel_at"] == canceled["object"]["cancel_at"]


def test_stories_play_in_live_mode() -> None:
    """The whole cast can play in live mode; only the story about both modes also has a test customer."""
    sandbox = whole_cast(live_mode=True)
    assert 1 == [live_mode for _, live_mode, _ in sandbox.truth()].count(False)


def test_preview_has_no_id() -> None:
    sandbox, _ = alone("upcoming_announced")
    [preview] = [json.loads(event.body) for event in sandbox.events if event.type == "invoice.upcoming"]
    assert "id" not in preview["data"]["object"]


def test_connected_accounts_are_named() -> None:
    """Events of a connected account carry its id; those of the endpoint's own account carry none."""
    sandbox = lived()
    for event in sandbox.events:
        body = json.loads(event.body)
        assert event.account_id == body.get("account", "")
        assert event.live_mode == body["livemode"]
    assert {"", "acct_1SandboxNorth", "acct_1SandboxSouth"} == {event.account_id for event in sandbox.events}


def test_intricate_truth_second_trial() -> None:
    """By hand: 14 days of trial, its end, five weekly renewals, ten more days of trial, its end."""
    sandbox, _ = alone("second_trial_classic")
    [truth] = sandbox.truth().values()
    assert ("active", 6, False, None) == (truth.status, truth.renewal_number, truth.is_trial, truth.trial_end)
    assert 7 * 700 == truth.lifetime_revenue
    assert ("trialing", "active", "trialing", "active") == truth.status_changes
    [product] = truth.products
    assert ("active", True, False, None) == (
        product.status,
        product.has_access,
        product.canceled,
        product.ended_at,
    )
    assert product.current_period_start is not None
    assert product.current_period_end is not None
    assert 7 * DAY == (product.current_period_end - product.current_period_start).total_seconds()


def test_intricate_truth_refunded_and_returned() -> None:
    """By hand: 2000 in, 2000 refunded, 2000 returned by the bank: 2000 below zero."""
    sandbox, _ = alone("refunded_and_returned")
    [truth] = sandbox.truth().values()
    [row] = truth.revenue
    assert (2000, 2000, 2000, 0, -2000) == (row.gross, row.refunded, row.disputed, row.out_of_band, row.net)
    assert ("usd", -2000, None) == (truth.revenue_currency, truth.lifetime_revenue, truth.status)


def test_intricate_truth_deleted_customer() -> None:
    """By hand: a week paid, renewed, deleted two days later: ended at that second."""
    sandbox, types = alone("deleted_after_paying")
    [truth] = sandbox.truth().values()
    [product] = truth.products
    [deletion] = [event for event in sandbox.events if event.type == "customer.deleted"]
    assert ("ended", False, 4000) == (truth.status, truth.has_access, truth.lifetime_revenue)
    assert instant(deletion.created) == truth.deleted_at == product.ended_at
    assert ("ended", "canceled", True) == (product.status, product.stripe_status, product.canceled)
    assert "customer.subscription.deleted" in types


def test_intricate_truth_many_ways() -> None:
    """By hand: five seats by two items, ten by another subscription, one product."""
    sandbox, _ = alone("one_product_many_ways")
    [truth] = sandbox.truth().values()
    assert [15] == [sum(product.quantity or 0 for product in truth.products)]
    assert {("seats", 3), ("vip", 2), ("seats", 10)} == {
        option for product in truth.products for option in product.options.items()
    }
    assert 1 == len({product.subscription_ids for product in truth.products})


def test_many_customers_mix() -> None:
    """A play of many customers brings that many, of every status, with their events interleaved."""
    sandbox = Sandbox(3)
    sandbox.play(customers=220)
    events = sandbox.run()
    truth = sandbox.truth()
    assert len(truth) >= 220
    statuses = Counter(expected.status for expected in truth.values())
    assert {"active", "trialing", "canceled", "past_due", "ended", None} == set(statuses)
    neighbours = sum(a.customer != b.customer for a, b in pairwise(events))
    assert neighbours > len(events) // 20


def test_forgotten_customers_leave_nothing() -> None:
    """A customer that left is forgotten with all its objects; one that has not left cannot be."""
    sandbox, _ = alone("canceled_now")
    [(_, _, customer_id)] = sandbox.truth()
    account = sandbox.home
    account.forget(customer_id)
    assert {} == sandbox.truth()
    assert set() == {thing.kind for thing in account.things.values()} - {
        *("product", "price"),
        # Payouts belong to the account.
        *("payout", "balance_transaction"),
    }
    assert [] == [thing for thing in account.things.values() if thing.customer is not None]
    sandbox.advance(60 * DAY)

    staying, _ = alone("one_payment")
    [(_, _, customer_id)] = staying.truth()
    with pytest.raises(ValueError, match="running subscription"):
        staying.home.forget(customer_id)


def test_inversions_contradict_the_order() -> None:
    """On request, `created` of events contradicts the order in which they happened."""
    sandbox = whole_cast(inversions=True)
    created = [event.created for event in sandbox.events]
    assert created != sorted(created)
    assert sandbox.truth() == lived().truth()


def test_calendar() -> None:
    """Months are counted from the anchor, so that a short one does not shorten those after it."""
    january = int(instant(0).replace(year=2025, month=1, day=31).timestamp())
    days = [instant(add_intervals(january, "month", n)).day for n in range(4)]
    assert [31, 28, 31, 30] == days
    february = add_intervals(january, "month", 1)
    assert add_intervals(january, "month", 2) == boundary_after(january, "month", 1, february)
    assert 2026 == instant(add_intervals(january, "year", 1)).year


def test_play_by_name_repeats() -> None:
    """A story may be played often; each performance has a customer of its own."""
    sandbox = Sandbox(1)
    sandbox.play("one_payment", customers=5)
    sandbox.run()
    truths = list(sandbox.truth().values())
    assert 5 == len({replace(truth, status_changes=()).stripe_customer_id for truth in truths})
    assert {"active"} == {truth.status for truth in truths}


def test_money_is_paid_out_weekly() -> None:
    """Each payout takes the whole balance of its currency, and leaves nothing."""
    home = lived().home
    balance: Counter[str] = Counter()
    paid_out = 0
    for entry in home.shelves["balance_transaction"].rows:
        assert isinstance(entry, BalanceTransaction)
        if entry.category == "payout":
            payout = home.find(entry.source)
            assert isinstance(payout, Payout)
            assert (payout.amount, payout.balance_transaction) == (balance[entry.currency], entry.id)
            assert payout.amount > 0
            paid_out += 1
        balance[entry.currency] += entry.net
        assert entry.category != "payout" or balance[entry.currency] == 0
    assert paid_out > 10


def test_every_movement_has_its_entry() -> None:
    """Each charge that took money, each refund except a released authorization, and each customer with a card names an
    object that exists.
    """
    home = lived().home
    for charge in home.shelves["charge"].rows:
        assert isinstance(charge, Charge)
        assert (charge.amount_captured > 0) == (charge.balance_transaction in home.things)
    for refund in home.shelves["refund"].rows:
        assert isinstance(refund, Refund)
        assert refund.releases_authorization != (refund.balance_transaction in home.things)
    for customer in home.customers():
        named = customer.default_payment_method
        assert named is None or named in home.things or customer.deleted_at is not None


def test_side_events_on_request() -> None:
    """Payouts and payment methods have events only where side events are asked for; nothing else changes."""
    few, all_ = Sandbox(2), Sandbox(2, side_events=True)
    for sandbox in (few, all_):
        sandbox.play(customers=150)
        sandbox.run()
    more = Counter(event.type for event in all_.events) - Counter(event.type for event in few.events)
    assert {
        "payout.created",
        "payout.paid",
        "payment_method.detached",
    } <= more.keys()
    assert {name.partition(".")[0] for name in more} == {"payout", "payment_method"}


def test_stories_play_in_any_account() -> None:
    """The whole cast lives in a connected account as well as in ours."""
    sandbox = Sandbox(1)
    sandbox.play(account_id="acct_1SandboxEast")
    sandbox.run()
    assert "acct_1SandboxEast" in {account_id for account_id, _, _ in sandbox.truth()}
    assert [] == list(sandbox.home.customers())
