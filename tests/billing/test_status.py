"""Status, access and the current subscription: each row of the definitions, and each case that facts decide."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from billing.facts import CustomerFacts
from billing.status import Policy, Status, is_known, standing_of
from tests.billing.examples import (
    AS_OF,
    CHARGE,
    DISPUTE,
    FACTS,
    IDENTITY,
    INVOICE,
    ITEM,
    PRICE,
    PRODUCT,
    SUBSCRIPTION,
    cycle_invoice,
    day,
    derive,
    facts_with,
    month,
    record_fields,
)

# Stripe's status, what else is set, and then: status, access, whether the product counts as canceled.
STATUS_TABLE = [
    ("incomplete", {}, None, False, False),
    ("incomplete_expired", {}, None, False, False),
    (None, {}, None, False, False),
    ("trialing", {}, "trialing", True, False),
    ("trialing", {"cancel_at_period_end": True}, "canceled", True, True),
    ("trialing", {"cancel_at": day(14)}, "canceled", True, True),
    ("active", {}, "active", True, False),
    ("active", {"cancel_at_period_end": True}, "canceled", True, True),
    ("active", {"cancel_at": day(31)}, "canceled", True, True),
    ("past_due", {}, "past_due", True, False),
    ("past_due", {"cancel_at_period_end": True}, "past_due", True, True),
    ("unpaid", {}, "past_due", False, False),
    ("paused", {}, "past_due", False, False),
    ("canceled", {}, "ended", False, True),
    ("resting", {}, "past_due", False, False),
    ("resting", {"cancel_at": day(31)}, "past_due", False, True),
]


@pytest.mark.parametrize(("word", "changes", "status", "has_access", "canceled"), STATUS_TABLE)
def test_status_of_a_subscription(
    word: str | None, changes: dict[str, Any], status: str | None, has_access: bool, canceled: bool
) -> None:
    """The record and its product agree about each of Stripe's statuses."""
    derived = derive(facts_with(replace(SUBSCRIPTION, status=word, **changes)))
    (product,) = derived.products
    assert (status, has_access) == (derived.record.status, derived.record.has_access)
    assert (status, has_access, canceled) == (product.status, product.has_access, product.canceled)
    assert word == product.stripe_status


@pytest.mark.parametrize("word", sorted({row[0] for row in STATUS_TABLE if row[0] is not None}))
def test_subscriptions_of_a_deleted_customer(word: str) -> None:
    """Deleting a customer ends every started subscription, whatever its last status, and none has access."""
    derived = derive(replace(facts_with(replace(SUBSCRIPTION, status=word)), deleted_at=day(9)))
    never_started = word in ("incomplete", "incomplete_expired")
    assert (None if never_started else "ended") == derived.record.status
    assert not derived.record.has_access
    assert (None if never_started else day(9)) == derived.products[0].ended_at
    assert day(9) == derived.record.deleted_at
    assert () == derived.problems


@pytest.mark.parametrize(
    ("word", "has_access"), [("past_due", False), ("active", True), ("trialing", True), ("unpaid", False)]
)
def test_access_while_past_due_is_a_setting(word: str, has_access: bool) -> None:
    """The setting takes access from past_due subscriptions and from no others."""
    derived = derive(facts_with(replace(SUBSCRIPTION, status=word)), past_due_has_access=False)
    assert has_access == derived.record.has_access


def test_unknown_status_is_a_problem() -> None:
    """An unknown status is reported with the remedy, once for each subscription."""
    derived = derive(facts_with(replace(SUBSCRIPTION, status="resting")))
    (problem,) = derived.problems
    assert ("status_unknown", "sub_1") == (problem.kind, problem.object_id)
    assert "'resting'" in problem.detail
    assert "billing/status.py" in problem.detail
    assert () == derive(facts_with(replace(SUBSCRIPTION, status="unpaid"))).problems


@pytest.mark.parametrize("word", sorted({str(row[0]) for row in STATUS_TABLE if row[0] is not None}))
def test_known_words(word: str) -> None:
    """Every status of the table is known, except the one that is there to be unknown."""
    assert (word != "resting") == is_known(word)


# Stripe's status, ended_at, canceled_at, the customer's deleted_at; when it ended.
ENDS = [
    ("canceled", day(3), day(2), None, day(3)),
    ("canceled", None, day(2), None, day(2)),
    ("canceled", None, day(2), day(4), day(2)),
    ("canceled", None, None, day(4), day(4)),
    ("active", None, day(2), day(4), day(4)),  # the cancellation had only been requested
    ("active", day(3), None, day(4), day(3)),
    ("active", None, day(2), None, None),
    ("incomplete_expired", day(1), None, None, day(1)),
]


@pytest.mark.parametrize(("word", "ended_at", "canceled_at", "deleted_at", "expected"), ENDS)
def test_when_it_ended(word: str, ended_at: Any, canceled_at: Any, deleted_at: Any, expected: Any) -> None:
    """Stripe's ended_at first, then the time of the finished cancellation, then the customer's deletion."""
    subscription = replace(SUBSCRIPTION, status=word, ended_at=ended_at, canceled_at=canceled_at)
    assert expected == standing_of(subscription, deleted_at=deleted_at, policy=Policy()).ended_at


# --- The catalogue's cases B ------------------------------------------------------------------------------------------

TRIAL = replace(SUBSCRIPTION, status="trialing", trial_start=day(0), trial_end=day(14))
FREE_START = replace(INVOICE, subtotal=0, total=0, amount_due=0, amount_paid=0, lines_period_end=day(14))
TRIAL_OVER = replace(TRIAL, status="active")
TRIAL_BILL = cycle_invoice(day(14), status="draft")
PAID = replace(facts_with(SUBSCRIPTION), invoices=(INVOICE,), charges=(CHARGE,))
RENEWED = replace(CHARGE, id="ch_2", created=month(2))
FAILED = replace(CHARGE, id="ch_3", status="failed", captured=False, amount_captured=0)


def story(facts: CustomerFacts, **changes: Any) -> CustomerFacts:
    """The same customer with something changed about its only subscription."""
    return replace(facts, subscriptions=(replace(facts.subscriptions[0], **changes),))


ABANDONED = replace(SUBSCRIPTION, id="sub_2", status="incomplete", start_date=day(50), created=day(50))
OTHER_PRODUCT = replace(PRODUCT, id="prod_2")
OTHER_PRICE = replace(PRICE, id="price_2", product_id="prod_2")


def with_abandoned_checkout(facts: CustomerFacts, word: str) -> CustomerFacts:
    """The customer then begins to buy another product and leaves."""
    return replace(
        facts,
        subscriptions=(*facts.subscriptions, replace(ABANDONED, status=word)),
        items=(
            *facts.items,
            replace(ITEM, id="si_2", subscription_id="sub_2", price_id="price_2", product_id="prod_2"),
        ),
        prices=(PRICE, OTHER_PRICE),
        products=(PRODUCT, OTHER_PRODUCT),
    )


NO_MONEY = {"lifetime_revenue": 0, "revenue_currency": None}

STATUS_CASES: list[tuple[str, CustomerFacts, dict[str, Any]]] = [
    (
        "B21 trial with card",
        replace(facts_with(TRIAL), invoices=(FREE_START,)),
        {
            "status": "trialing",
            "is_trial": True,
            "trial_end": day(14),
            "has_access": True,
            "renewal_number": 0,
        }
        | NO_MONEY,
    ),
    (
        "B22 trial over, in the first hour",
        replace(facts_with(TRIAL_OVER), invoices=(FREE_START, TRIAL_BILL)),
        {"status": "active", "is_trial": False, "trial_end": None, "renewal_number": 0} | NO_MONEY,
    ),
    (
        "B22 trial over and paid",
        replace(facts_with(TRIAL_OVER), invoices=(FREE_START, cycle_invoice(day(14))), charges=(CHARGE,)),
        {"status": "active", "renewal_number": 0, "lifetime_revenue": 2000, "revenue_currency": "usd"},
    ),
    (
        "B23 trial over without a card: cancel",
        facts_with(replace(TRIAL, status="canceled", ended_at=day(14))),
        {"status": "ended", "has_access": False, "is_trial": False, "trial_end": None} | NO_MONEY,
    ),
    (
        "B24 trial over without a card: pause",
        facts_with(replace(TRIAL, status="paused")),
        {"status": "past_due", "has_access": False, "is_trial": False},
    ),
    (
        "B25 trial that will be canceled",
        facts_with(replace(TRIAL, cancel_at_period_end=True, cancel_at=day(14), canceled_at=day(3))),
        {"status": "canceled", "is_trial": True, "trial_end": day(14), "has_access": True},
    ),
    (
        "B26 taken back, the trial having been shortened",
        facts_with(replace(TRIAL, trial_end=day(10))),
        {"status": "trialing", "is_trial": True, "trial_end": day(10)},
    ),
    (
        "B27 cancel at period end",
        story(PAID, cancel_at_period_end=True, cancel_at=month(2), canceled_at=day(5)),
        {"status": "canceled", "has_access": True},
    ),
    ("B28 canceled in the portal, flexible", story(PAID, cancel_at=month(2)), {"status": "canceled"}),
    ("B29 taken back", story(PAID), {"status": "active", "has_access": True}),
    (
        "B30 period end reached",
        story(PAID, status="canceled", cancel_at_period_end=True, canceled_at=day(5), ended_at=month(2)),
        {"status": "ended", "has_access": False, "lifetime_revenue": 2000},
    ),
    (
        "B32 cancel now",
        story(PAID, status="canceled", canceled_at=day(5), ended_at=day(5)),
        {"status": "ended", "product_id": "prod_1", "stripe_price_id": "price_1", "quantity": 1},
    ),
    (
        "B33 first payment needs the customer",
        facts_with(replace(SUBSCRIPTION, status="incomplete")),
        {"status": None, "has_access": False, "product_id": None, "stripe_subscription_id": None},
    ),
    (
        "B34 and was never made",
        facts_with(replace(SUBSCRIPTION, status="incomplete_expired", ended_at=day(1))),
        {"status": None, "has_access": False, "subscription_date": None},
    ),
    (
        "B35 churned customer abandons a Checkout",
        with_abandoned_checkout(story(PAID, status="canceled", ended_at=day(5)), "incomplete"),
        {"status": "ended", "product_id": "prod_1", "subscription_date": day(0)},
    ),
    (
        "B35 which then expires",
        with_abandoned_checkout(story(PAID, status="canceled", ended_at=day(5)), "incomplete_expired"),
        {"status": "ended", "product_id": "prod_1", "subscription_date": day(0)},
    ),
    (
        "B36 active customer, second Checkout incomplete",
        with_abandoned_checkout(PAID, "incomplete"),
        {"status": "active", "product_id": "prod_1", "has_access": True},
    ),
    (
        "B37 renewal fails and is retried",
        replace(
            story(PAID, status="past_due"),
            invoices=(INVOICE, cycle_invoice(month(2), status="open")),
            charges=(CHARGE, FAILED, replace(FAILED, id="ch_4")),
        ),
        {"status": "past_due", "has_access": True, "renewal_number": 1, "lifetime_revenue": 2000},
    ),
    (
        "B38 recovered by a new card",
        replace(PAID, invoices=(INVOICE, cycle_invoice(month(2))), charges=(CHARGE, FAILED, RENEWED)),
        {"status": "active", "renewal_number": 1, "lifetime_revenue": 4000},
    ),
    (
        "B39 recovered by giving the invoice up",
        replace(
            PAID,
            invoices=(INVOICE, cycle_invoice(month(2), status="uncollectible")),
            charges=(CHARGE, FAILED),
        ),
        {"status": "active", "has_access": True, "lifetime_revenue": 2000},
    ),
    (
        "B40 retries exhausted: unpaid",
        story(PAID, status="unpaid"),
        {"status": "past_due", "has_access": False},
    ),
    (
        "B41 retries exhausted: canceled",
        story(PAID, status="canceled", ended_at=day(45), cancellation_reason="payment_failed"),
        {"status": "ended", "has_access": False},
    ),
    (
        "B42 paused by a failed payment",
        story(PAID, status="paused"),
        {"status": "past_due", "has_access": False},
    ),
    ("B42 and paid", PAID, {"status": "active", "has_access": True}),
    (
        "B43 resumes only when paid",
        replace(story(PAID, status="paused"), invoices=(INVOICE, cycle_invoice(month(3), status="open"))),
        {"status": "past_due", "has_access": False},
    ),
    (
        "B44 collection paused, invoices void",
        replace(
            story(PAID, pause_collection="void"),
            invoices=(
                INVOICE,
                cycle_invoice(month(2), status="void"),
                cycle_invoice(month(3), status="void"),
            ),
        ),
        {"status": "active", "has_access": True, "renewal_number": 2, "lifetime_revenue": 2000},
    ),
    (
        "B45 past due and cancel at period end",
        story(PAID, status="past_due", cancel_at_period_end=True),
        {"status": "past_due", "has_access": True},
    ),
    (
        "B46 bank debit fails days later",
        replace(facts_with(SUBSCRIPTION), invoices=(replace(INVOICE, status="void"),), charges=(FAILED,)),
        {"status": "active", "has_access": True} | NO_MONEY,
    ),
    (
        "B47 sent invoice, not due yet",
        replace(facts_with(SUBSCRIPTION), invoices=(replace(INVOICE, status="open", amount_paid=0),)),
        {"status": "active"} | NO_MONEY,
    ),
    ("B47 sent invoice, overdue", story(PAID, status="past_due"), {"status": "past_due"}),
    ("B47 sent invoice, paid", PAID, {"status": "active", "lifetime_revenue": 2000}),
    ("B48 schedule, an earlier phase", story(PAID, schedule_id="sub_sched_1"), {"status": "active"}),
    (
        "B48 schedule that cancels, last phase",
        story(PAID, schedule_id="sub_sched_1", cancel_at=month(4)),
        {"status": "canceled", "has_access": True},
    ),
    (
        "B49 fixed term, 11 months to go",
        story(PAID, cancel_at=month(13)),
        {"status": "canceled", "has_access": True},
    ),
    (
        "B50 disputed, and the setting cancels",
        replace(
            story(PAID, status="canceled", ended_at=day(9), cancellation_reason="payment_disputed"),
            disputes=(DISPUTE,),
        ),
        {"status": "ended", "lifetime_revenue": 0},
    ),
    (
        "B51 disputed without that setting",
        replace(PAID, disputes=(DISPUTE,)),
        {"status": "active", "has_access": True, "lifetime_revenue": 0},
    ),
    (
        "B52 the open invoice voided by hand",
        replace(PAID, invoices=(INVOICE, cycle_invoice(month(2), status="void")), charges=(CHARGE, FAILED)),
        {"status": "active", "lifetime_revenue": 2000},
    ),
]


@pytest.mark.parametrize(("facts", "expected"), [pytest.param(*row[1:], id=row[0]) for row in STATUS_CASES])
def test_status_cases(facts: CustomerFacts, expected: dict[str, Any]) -> None:
    """The record shows what the case says."""
    assert expected == record_fields(derive(facts), expected)


def test_b27_to_b30_on_the_product() -> None:
    """The product shows when the cancellation was requested and when it came; after it is taken back, neither."""
    asked = {"cancel_at_period_end": True, "cancel_at": month(2), "canceled_at": day(5)}
    (scheduled,) = derive(story(PAID, **asked)).products
    (undone,) = derive(story(PAID)).products
    (ended,) = derive(story(PAID, **asked, status="canceled", ended_at=month(2))).products
    assert (True, day(5), None) == (scheduled.canceled, scheduled.canceled_at, scheduled.ended_at)
    assert (False, None, None) == (undone.canceled, undone.canceled_at, undone.ended_at)
    assert (True, day(5), month(2)) == (ended.canceled, ended.canceled_at, ended.ended_at)


def test_b53_migration_to_flexible_shows_nothing() -> None:
    """A subscription's billing mode may change during its life, but the record does not."""
    assert derive(story(PAID, billing_mode="classic")) == derive(story(PAID, billing_mode="flexible"))


# --- The current subscription, cases C --------------------------------------------------------------------------------

A = replace(SUBSCRIPTION, id="sub_a")
B = replace(SUBSCRIPTION, id="sub_b")

CURRENT_CASES: list[tuple[str, CustomerFacts, str | None]] = [
    (
        "C54 active but canceling before past due",
        facts_with(replace(A, cancel_at_period_end=True), replace(B, status="past_due", start_date=day(9))),
        "sub_a",
    ),
    ("C55 active before trialing", facts_with(A, replace(B, status="trialing", start_date=day(9))), "sub_a"),
    (
        "C55 active before a trial that is canceling",
        facts_with(replace(A, status="trialing", cancel_at=day(14)), B),
        "sub_b",
    ),
    (
        "trialing before active but canceling",
        facts_with(replace(A, status="trialing"), replace(B, cancel_at=day(20), start_date=day(9))),
        "sub_a",
    ),
    (
        "past due before ended",
        facts_with(
            replace(A, status="unpaid"), replace(B, status="canceled", ended_at=day(20), start_date=day(9))
        ),
        "sub_a",
    ),
    (
        "C56 plan changed by a new subscription in the same second",
        facts_with(
            replace(A, status="canceled", ended_at=day(9)), replace(B, start_date=day(9), created=day(9))
        ),
        "sub_b",
    ),
    (
        "C57 two ended: the one that ended last",
        facts_with(
            replace(A, status="canceled", ended_at=day(900)),
            replace(B, status="canceled", ended_at=day(600), start_date=day(500), created=day(500)),
        ),
        "sub_a",
    ),
    (
        "two ended together: the one created last",
        facts_with(
            replace(A, status="canceled", ended_at=day(9), created=day(2)),
            replace(B, status="canceled", ended_at=day(9), created=day(1), start_date=day(8)),
        ),
        "sub_a",
    ),
    (
        "C58 imported in one second: the later start",
        facts_with(replace(A, start_date=day(2)), replace(B, start_date=day(1))),
        "sub_a",
    ),
    (
        "C58 and the same start: the one created later",
        facts_with(replace(A, created=day(2)), replace(B, created=day(1))),
        "sub_a",
    ),
    ("C58 and the same second: the greater id", facts_with(B, A), "sub_b"),
    ("greater by bytes, not by letter", facts_with(replace(A, id="sub_Z"), replace(B, id="sub_a")), "sub_a"),
    ("C59 only schedules", facts_with(), None),
    (
        "only never started",
        facts_with(replace(A, status="incomplete"), replace(B, status="incomplete_expired")),
        None,
    ),
]


@pytest.mark.parametrize(("facts", "expected"), [pytest.param(*row[1:], id=row[0]) for row in CURRENT_CASES])
def test_current_subscription(facts: CustomerFacts, expected: str | None) -> None:
    """One subscription is the current one, and the order in which they are read does not matter."""
    for order in itertools.permutations(facts.subscriptions):
        derived = derive(replace(facts, subscriptions=order))
        assert expected == derived.record.stripe_subscription_id
        assert expected == derived.deciding_subscription_id


def test_current_subscription_gives_the_fields() -> None:
    """C56: after a change of plan everything comes from the new subscription, and first_seen stays."""
    facts = replace(
        facts_with(
            replace(A, status="canceled", ended_at=day(40)), replace(B, start_date=day(40), created=day(40))
        ),
        invoices=(cycle_invoice(month(2), subscription_id="sub_a"),),
    )
    record = derive(facts).record
    assert ("sub_b", day(40)) == (record.stripe_subscription_id, record.subscription_date)
    assert (0, day(0)) == (record.renewal_number, record.first_seen)


def test_any_subscription_gives_access() -> None:
    """Access may come from a subscription that is not the current one, but never from an ended one."""
    unpaid = replace(A, status="unpaid", start_date=day(9))
    derived = derive(facts_with(unpaid, replace(B, status="past_due")))
    assert ("sub_a", True) == (derived.record.stripe_subscription_id, derived.record.has_access)
    assert not derive(facts_with(unpaid, replace(B, status="canceled"))).record.has_access


# --- The grant, case C62 --------------------------------------------------------------------------------------

GRANTED = replace(FACTS, identity=replace(IDENTITY, sandbox_product_id="prod_1", sandbox_end=day(30)))


@pytest.mark.parametrize(
    ("subscription", "at", "status", "has_access"),
    [
        pytest.param(None, 29, None, True, id="running"),
        pytest.param(None, 30, None, False, id="over"),
        pytest.param({"status": "active"}, 29, "active", True, id="a real plan starts"),
        pytest.param({"status": "unpaid"}, 29, "past_due", False, id="a live subscription outranks it"),
        pytest.param({"status": "canceled", "ended_at": day(20)}, 29, "ended", True, id="ended, not sandbox"),
        pytest.param({"status": "canceled", "ended_at": day(20)}, 31, "ended", False, id="both over"),
        pytest.param({"status": "incomplete"}, 29, None, True, id="never started"),
    ],
)
def test_c62_sandbox_grant(
    subscription: dict[str, Any] | None, at: int, status: str | None, has_access: bool
) -> None:
    """A grant gives access until its end if no subscription is live; its end stays in the record."""
    facts = GRANTED
    if subscription is not None:
        facts = replace(facts_with(replace(SUBSCRIPTION, **subscription)), identity=GRANTED.identity)
    record = derive(facts, as_of=day(at)).record
    assert (status, has_access, day(30)) == (record.status, record.has_access, record.sandbox_end)


def test_without_a_grant_the_time_does_not_matter() -> None:
    """No clock: the same facts mean the same at any time."""
    facts = story(PAID, cancel_at=month(2), status="trialing", trial_end=day(14))
    assert derive(facts, as_of=day(-400)) == derive(facts, as_of=AS_OF)


def test_the_five_words() -> None:
    """Readers, and the constraints of the schema, know exactly these."""
    assert {"active", "trialing", "canceled", "past_due", "ended"} == {str(status) for status in Status}
