"""renewal_number: the cases D of the catalogue, in both billing modes, and the edges of its definition."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from billing.kinds.catalogue import Price
from billing.kinds.invoices import Invoice
from billing.kinds.subscriptions import Subscription
from billing.renewals import cycle_boundaries, renewal_number
from tests.billing.examples import (
    INVOICE,
    PRICE,
    SUBSCRIPTION,
    cycle_invoice,
    day,
    derive,
    facts_with,
    month,
)

TRIAL = replace(SUBSCRIPTION, trial_start=day(0), trial_end=day(14))
FREE_START = replace(INVOICE, subtotal=0, total=0, amount_due=0, amount_paid=0, lines_period_end=day(14))


def cycles(*period_ends: datetime) -> tuple[Invoice, ...]:
    return tuple(map(cycle_invoice, period_ends))


def other(billing_reason: str, period_end: datetime) -> Invoice:
    return replace(cycle_invoice(period_end), id=f"in_{billing_reason}", billing_reason=billing_reason)


def after_trial(renewals: int, *, trial_days: float = 14) -> tuple[Invoice, ...]:
    """The boundaries of a subscription whose trial ended after so many days, the trial's own first."""
    return cycles(*(day(trial_days + 30 * number) for number in range(renewals + 1)))


def unnamed(period_end: datetime) -> Invoice:
    """An invoice of before May 2018, when Stripe gave one reason for creations and for cycles."""
    return replace(cycle_invoice(period_end), id=f"in_{period_end}", billing_reason="subscription")


TRIAL_LEFT = replace(
    INVOICE,
    id="in_left",
    created=day(5),
    billing_reason="subscription_update",
    period_end=day(5),
    lines_period_end=day(35),
)
"""The trial was ended on the sixth day: the invoice bills the month that begins then."""

FREE_UPDATE = replace(TRIAL_LEFT, id="in_free", subtotal=0, total=0, lines_period_end=day(90))

FREE_PRICE = replace(PRICE, unit_amount=0, unit_amount_decimal="0")

ENDED = replace(SUBSCRIPTION, status="canceled", ended_at=month(3))
IN_TRIAL: dict[str, Any] = {"trial_start": day(0), "trial_end": month(3)}


def used_until(period_end: datetime) -> Invoice:
    """The invoice for what was used in the period that ends then."""
    return replace(cycle_invoice(period_end), lines_period_end=period_end)


RENEWAL_CASES: list[tuple[str, Subscription, tuple[Invoice, ...], int]] = [
    ("just signed up", SUBSCRIPTION, (INVOICE,), 0),
    ("D63 three renewals", SUBSCRIPTION, (INVOICE, *cycles(month(2), month(3), month(4))), 3),
    (
        "D63 in the first hour after the fourth boundary",
        SUBSCRIPTION,
        (
            INVOICE,
            *cycles(month(2), month(3), month(4)),
            cycle_invoice(month(5), status="draft"),
        ),
        4,
    ),
    ("the end bills what was used", ENDED, (INVOICE, *cycles(month(2)), used_until(month(3))), 1),
    ("one that ended with its trial", replace(ENDED, **IN_TRIAL), (FREE_START, used_until(month(3))), 0),
    ("the same while it runs", SUBSCRIPTION, (INVOICE, *cycles(month(2)), used_until(month(3))), 2),
    (
        "canceled in the second in which it was renewed",
        ENDED,
        (INVOICE, *cycles(month(2)), replace(used_until(month(3)), lines_period_end=month(4))),
        2,
    ),
    ("trialing", replace(TRIAL, status="trialing"), (FREE_START,), 0),
    ("trial over: no renewal", TRIAL, (FREE_START, *after_trial(0)), 0),
    ("D64 trial, then two renewals", TRIAL, (FREE_START, *after_trial(2)), 2),
    (
        "D64 the trial began a minute after",
        replace(TRIAL, trial_start=day(0) + timedelta(seconds=60)),
        after_trial(2),
        2,
    ),
    ("D64 backdated", replace(TRIAL, start_date=day(-90)), after_trial(2), 2),
    (
        "D65 R1 classic: a new trial after five renewals",
        replace(TRIAL, billing_mode="classic", status="trialing", trial_end=day(200)),
        (FREE_START, *after_trial(5), other("subscription_update", day(170))),
        5,
    ),
    (
        "D65 R1 and after that trial",
        replace(TRIAL, billing_mode="classic", trial_end=day(200)),
        (FREE_START, *after_trial(5), *cycles(day(200))),
        6,
    ),
    (
        "D66 R2 flexible: the trial's start moves, too",
        replace(TRIAL, status="trialing", trial_start=day(170), trial_end=day(200)),
        (FREE_START, *after_trial(5), other("subscription_update", day(170))),
        5,
    ),
    (
        "D66 R2 and after that trial",
        replace(TRIAL, trial_start=day(170), trial_end=day(200)),
        (FREE_START, *after_trial(5), *cycles(day(200))),
        6,
    ),
    (
        "a first trial in mid-life: none of the earlier renewals was a trial's end",
        replace(SUBSCRIPTION, trial_start=day(170), trial_end=day(200)),
        (INVOICE, *after_trial(5)),
        6,
    ),
    (
        "D67 trial extended before conversion",
        replace(TRIAL, trial_end=day(30)),
        (FREE_START, *after_trial(1, trial_days=30)),
        1,
    ),
    (
        "D68 R12 trial ended early, billed as a change",
        replace(TRIAL, trial_end=day(5)),
        (FREE_START, other("subscription_update", day(5)), *cycles(day(35))),
        1,
    ),
    (
        "D68 trial ended early, billed as a cycle",
        replace(TRIAL, trial_end=day(5)),
        (FREE_START, *after_trial(1, trial_days=5)),
        1,
    ),
    (
        "D69 R5 voided and reissued as a revision",
        SUBSCRIPTION,
        (
            INVOICE,
            cycle_invoice(month(2), status="void"),
            replace(cycle_invoice(month(2)), id="in_revision"),
        ),
        1,
    ),
    (
        "D69 R5 voided and reissued by hand",
        SUBSCRIPTION,
        (INVOICE, cycle_invoice(month(2), status="void"), other("manual", day(40))),
        1,
    ),
    (
        "D70 R3 two invoices at one transition",
        SUBSCRIPTION,
        (INVOICE, *cycles(month(2), month(2) + timedelta(minutes=3))),
        1,
    ),
    (
        "D71 R4 monthly and yearly items, 13 months",
        SUBSCRIPTION,
        (
            INVOICE,
            *cycles(*(month(number) for number in range(2, 15))),
            replace(cycle_invoice(month(13)), id="in_yearly"),
        ),
        13,
    ),
    (
        "D72 quantity change, invoiced at once",
        SUBSCRIPTION,
        (INVOICE, other("subscription_update", day(9))),
        0,
    ),
    ("D73 threshold", SUBSCRIPTION, (INVOICE, other("subscription_threshold", day(9))), 0),
    (
        "D74 anchor moved to now, then a renewal",
        SUBSCRIPTION,
        (INVOICE, other("subscription_update", day(9)), *cycles(day(40))),
        1,
    ),
    (
        "D75 R10 imported",
        replace(SUBSCRIPTION, start_date=day(-90), metadata={"renewals_before_import": "3"}),
        (),
        3,
    ),
    (
        "D75 imported, then renewed",
        replace(SUBSCRIPTION, metadata={"renewals_before_import": "3"}),
        cycles(month(2)),
        4,
    ),
    ("D77 free cycles", SUBSCRIPTION, tuple(replace(i, total=0) for i in after_trial(3)), 4),
    ("D78 collection paused", SUBSCRIPTION, tuple(replace(i, status="void") for i in after_trial(1)), 2),
    (
        "D79 R7 unpaid: drafts",
        replace(SUBSCRIPTION, status="unpaid"),
        tuple(replace(i, status="draft") for i in after_trial(2)),
        3,
    ),
    (
        "deleted invoices do not count",
        SUBSCRIPTION,
        (cycle_invoice(month(2)), cycle_invoice(month(3), status="deleted")),
        1,
    ),
    (
        "R15 the invoices of another subscription do not count",
        SUBSCRIPTION,
        (cycle_invoice(month(2), subscription_id="sub_0"), *cycles(month(3))),
        1,
    ),
    (
        "two trials in classic mode, the first ended early",
        replace(TRIAL, billing_mode="classic", status="trialing", trial_end=day(90)),
        (FREE_START, TRIAL_LEFT, *cycles(day(35), day(65)), replace(FREE_UPDATE, created=day(70))),
        2,
    ),
    (
        "two trials in classic mode, and after the second",
        replace(TRIAL, billing_mode="classic", trial_end=day(90)),
        (FREE_START, TRIAL_LEFT, *cycles(day(35), day(65), day(90))),
        3,
    ),
    (
        "two trials in classic mode, no cycle between them",
        replace(TRIAL, billing_mode="classic", trial_end=day(50)),
        (FREE_START, TRIAL_LEFT, replace(FREE_UPDATE, created=day(20)), *cycles(day(50), day(80))),
        2,
    ),
    (
        "two trials in classic mode, the first ended early by a cycle's invoice",
        replace(TRIAL, billing_mode="classic", trial_end=day(90)),
        (FREE_START, *cycles(day(5), day(35), day(65), day(90))),
        3,
    ),
    (
        "a setup fee billed within the trial is no end of it",
        TRIAL,
        (FREE_START, replace(TRIAL_LEFT, lines_period_end=day(5)), *after_trial(2)),
        2,
    ),
    ("a change within the trial that costs nothing", TRIAL, (FREE_START, FREE_UPDATE, *after_trial(2)), 2),
    (
        "a change billed after the trial",
        TRIAL,
        (FREE_START, replace(TRIAL_LEFT, created=day(20)), *after_trial(2)),
        2,
    ),
    ("before May 2018: the creation", SUBSCRIPTION, (unnamed(day(0)),), 0),
    (
        "before May 2018: five cycles",
        SUBSCRIPTION,
        tuple(unnamed(month(number)) for number in range(1, 7)),
        5,
    ),
    (
        "before and after May 2018",
        SUBSCRIPTION,
        (unnamed(day(0)), unnamed(month(2)), *cycles(month(3), month(4))),
        3,
    ),
    (
        "before May 2018: two invoices of one boundary",
        SUBSCRIPTION,
        (unnamed(day(0)), unnamed(month(2)), unnamed(month(2) + timedelta(minutes=9))),
        1,
    ),
    (
        "before May 2018: with a trial",
        TRIAL,
        (replace(FREE_START, billing_reason="subscription"), unnamed(day(14)), unnamed(day(44))),
        1,
    ),
    (
        "before May 2018: of another subscription",
        SUBSCRIPTION,
        (replace(unnamed(day(0)), subscription_id="sub_0"), unnamed(month(1)), unnamed(month(2))),
        1,
    ),
    ("an invoice without a boundary", SUBSCRIPTION, (replace(cycle_invoice(month(2)), period_end=None),), 0),
]


@pytest.mark.parametrize(
    ("subscription", "invoices", "expected"), [pytest.param(*row[1:], id=row[0]) for row in RENEWAL_CASES]
)
def test_renewal_number(subscription: Subscription, invoices: tuple[Invoice, ...], expected: int) -> None:
    """The case's number, from the function and in the record."""
    assert expected == renewal_number(subscription, invoices, [PRICE])
    derived = derive(replace(facts_with(subscription), invoices=invoices))
    assert expected == derived.record.renewal_number


@pytest.mark.parametrize("mode", ["classic", "flexible", None])
@pytest.mark.parametrize(
    ("subscription", "invoices", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in RENEWAL_CASES if "classic" not in row[0]],
)
def test_the_billing_mode_does_not_matter(
    mode: str | None, subscription: Subscription, invoices: tuple[Invoice, ...], expected: int
) -> None:
    """A subscription may migrate at any time, so only what its dates and invoices say counts."""
    assert expected == renewal_number(replace(subscription, billing_mode=mode), invoices, [PRICE])


@pytest.mark.parametrize(
    ("apart", "boundaries"),
    [(timedelta(minutes=59, seconds=59), 1), (timedelta(hours=1), 2), (timedelta(0), 1)],
)
def test_boundaries_less_than_an_hour_apart_are_one(apart: timedelta, boundaries: int) -> None:
    """Boundaries exactly an hour apart are two, whichever invoice is read first."""
    invoices = cycles(month(2), month(2) + apart)
    assert boundaries == len(cycle_boundaries(invoices)) == len(cycle_boundaries(reversed(invoices)))


MOVED_ON = replace(TRIAL, trial_start=day(170), trial_end=day(200))
CYCLES = after_trial(5)


@pytest.mark.parametrize(
    ("start", "prices", "first_was_trial"),
    [
        pytest.param({}, [PRICE], True, id="free although it costs"),
        pytest.param({"total": 1}, [PRICE], False, id="not free"),
        pytest.param({"subtotal": 2000}, [PRICE], False, id="free by a discount"),
        pytest.param({"subtotal": None}, [PRICE], True, id="unknown whether by a discount"),
        pytest.param({"total": None}, [PRICE], False, id="unknown total"),
        pytest.param({}, [FREE_PRICE], False, id="a free price needs no trial"),
        pytest.param({}, [FREE_PRICE, PRICE], True, id="one of the items costs"),
        pytest.param({}, [], False, id="no items known"),
        pytest.param({}, [None], False, id="price unknown"),
        pytest.param({}, [replace(PRICE, usage_type="metered")], False, id="metered use is billed later"),
        pytest.param(
            {}, [replace(PRICE, unit_amount=None, unit_amount_decimal="0.5")], True, id="half a cent"
        ),
        pytest.param(
            {}, [replace(PRICE, unit_amount=None, unit_amount_decimal="0.00")], False, id="no cents"
        ),
        pytest.param({}, [replace(PRICE, unit_amount=None, unit_amount_decimal=None)], True, id="tiers"),
        pytest.param({"lines_period_end": day(14.03)}, [PRICE], True, id="within an hour of the boundary"),
        pytest.param({"lines_period_end": day(14 + 1 / 24)}, [PRICE], False, id="an hour after the boundary"),
        pytest.param({"lines_period_end": day(13)}, [PRICE], False, id="ends before the boundary"),
        pytest.param({"lines_period_end": None}, [PRICE], False, id="no lines known"),
        pytest.param({"billing_reason": "subscription_update"}, [PRICE], False, id="another reason"),
        pytest.param(
            {"subtotal": 5000, "total": 5000, "trial_lines_end": day(14)}, [PRICE], True, id="a setup fee"
        ),
        pytest.param({"trial_lines_end": day(14)}, [FREE_PRICE], True, id="a free price since then"),
        pytest.param({"total": 5000, "trial_lines_end": day(7)}, [PRICE], False, id="another trial"),
    ],
)
def test_where_the_trial_has_moved_on(
    start: dict[str, Any], prices: list[Price | None], first_was_trial: bool
) -> None:
    """Then the first invoice shows it: 0 for a price that is not 0, and its line ends at the earliest boundary."""
    invoices = (replace(FREE_START, **start), *CYCLES)
    assert (5 if first_was_trial else 6) == renewal_number(MOVED_ON, invoices, prices)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, 2, id="from the start"),
        pytest.param({"trial_start": day(0) + timedelta(seconds=61)}, 3, id="61 seconds after creation"),
        pytest.param({"trial_start": None}, 3, id="no trial"),
        pytest.param({"trial_end": None}, 2, id="no end known"),
        pytest.param({"trial_end": day(14) - timedelta(minutes=59)}, 2, id="ended less than an hour before"),
        pytest.param({"trial_end": day(14) - timedelta(hours=1)}, 3, id="ended an hour before"),
        pytest.param({"created": None}, 3, id="creation unknown"),
    ],
)
def test_began_with_a_trial(changes: dict[str, Any], expected: int) -> None:
    """The end of a trial from the start is no renewal, if the earliest boundary can be that end."""
    assert expected == renewal_number(replace(TRIAL, **changes), after_trial(2), [PRICE])


@pytest.mark.parametrize(
    ("stated", "added"),
    [("3", 3), ("0", 0), ("-3", 0), ("three", 0), ("3.5", 0), ("", 0), ("٣", 0), ("1" * 40, 0)],
)
def test_only_a_whole_number_came_before(stated: str, added: int) -> None:
    """Anything else in renewals_before_import is ignored."""
    subscription = replace(SUBSCRIPTION, metadata={"renewals_before_import": stated})
    assert 1 + added == renewal_number(subscription, cycles(month(2)), [PRICE])
