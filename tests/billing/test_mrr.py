"""MRR: what a month brings by Stripe's own arithmetic, and how its history is written and revised."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.facts import CustomerFacts
from billing.kinds.catalogue import CurrencyOption, Tier
from billing.kinds.discounts import AmountOff, Coupon, Discount
from billing.mrr import Mrr, price_of
from billing.mrr_history import Chain, Change, moment_of_change, revise_mrr
from tests.billing.examples import (
    CUSTOMER,
    FACTS,
    INVOICE,
    ITEM,
    OUR_UID,
    PRICE,
    SUBSCRIPTION,
    cycle_invoice,
    day,
    month,
)

NOW = day(100)
TIERS = (
    Tier(up_to=5, unit_amount="1000"),
    Tier(up_to=10, unit_amount="800", flat_amount="50"),
    Tier(unit_amount="500.5"),
)


def facts(**fields: Any) -> CustomerFacts:
    """A customer with one active subscription of 20.00 USD a month, except for these fields."""
    said: dict[str, Any] = {
        "customer": CUSTOMER,
        "subscriptions": (SUBSCRIPTION,),
        "items": (ITEM,),
        "prices": (PRICE,),
    } | fields
    return replace(FACTS, **said)


def mrr(of: CustomerFacts, *, as_of: datetime = NOW) -> dict[str, int | None]:
    rows = Mrr(of).rows(customer_uid=UUID(OUR_UID), as_of=as_of)
    return {row.currency: row.mrr for row in rows}


class Passes(tuple[Any, ...]):
    """Counts how often it is gone through."""

    passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        return super().__iter__()


def test_i14_a_history_goes_through_the_invoices_once() -> None:
    """I14: however many subscriptions a customer has, its invoices are gone through once, and not for each of them."""
    number = 20
    invoices = Passes(
        replace(cycle_invoice(month(n), subscription_id=f"sub_{n}"), id=f"in_{n}") for n in range(number)
    )
    of = Mrr(
        facts(
            subscriptions=tuple(replace(SUBSCRIPTION, id=f"sub_{n}") for n in range(number)),
            items=tuple(replace(ITEM, id=f"si_{n}", subscription_id=f"sub_{n}") for n in range(number)),
            invoices=invoices,
        )
    )
    of.prepare(as_of=NOW)
    assert number * 2000 == of.past("usd", as_of=NOW)[-1].mrr_after
    assert number == len(of.moves("usd", as_of=NOW))
    assert 1 == invoices.passes


@pytest.mark.parametrize(
    ("price", "quantity", "expected"),
    [
        ({}, 1, 2000),
        ({}, 3, 6000),
        ({"interval_count": 3}, 1, 667),
        ({"interval": "year"}, 1, 167),
        ({"interval": "year"}, 3, 500),
        ({"interval": "week"}, 1, 8667),
        ({"interval": "day"}, 1, 60833),
        ({"unit_amount": None, "unit_amount_decimal": "0.5"}, 3, 2),
        ({"usage_type": "metered"}, None, 0),
        ({"recurring": False, "interval": None, "interval_count": None}, 1, 0),
        ({"interval": "fortnight"}, 1, None),
        ({"unit_amount": None, "unit_amount_decimal": None}, 1, None),
        ({"divide_quantity_by": 10, "round_quantity": "up"}, 11, 4000),
        ({"divide_quantity_by": 10, "round_quantity": "down"}, 19, 2000),
        ({"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS}, 12, 5000 + 4000 + 50 + 1001),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS}, 12, 6006),
        ({"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": None}, 12, None),
        ({"currency": "eur"}, 1, None),
        ({"currency": "eur", "currency_options": (CurrencyOption(currency="usd", unit_amount="2500"),)}, 2, 5000),
        ({"currency": "eur", "currency_options": (CurrencyOption(currency="gbp", unit_amount="2500"),)}, 2, None),
    ],
)  # fmt: skip
def test_a_month_of_a_price(price: dict[str, Any], quantity: int | None, expected: int | None) -> None:
    """A year is 12 months, a week 12/52 of one, a day 12/365; what is not known is None and never 0."""
    found = mrr(facts(prices=(replace(PRICE, **price),), items=(replace(ITEM, quantity=quantity),)))
    assert {"usd": expected} == found


@pytest.mark.parametrize(
    ("quantity", "graduated", "volume"),
    [(0, "0", "0"), (1, "1000", "1000"), (5, "5000", "5000"), (6, "5850", "4850"), (10, "9050", "8050"),
     (11, "9550.5", "5505.5")],
)  # fmt: skip
def test_tiers_at_their_edges(quantity: int, graduated: str, volume: str) -> None:
    """`up_to` belongs to its tier; a flat amount is charged with the tier that is reached."""
    for mode, expected in (("graduated", graduated), ("volume", volume)):
        price = replace(PRICE, billing_scheme="tiered", tiers_mode=mode, tiers=TIERS)
        assert Decimal(expected) == price_of(price, quantity=quantity, currency="usd")


@pytest.mark.parametrize(
    "price",
    [
        {"unit_amount_decimal": "damaged"},
        {
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "tiers": (Tier(up_to=None, unit_amount="x", flat_amount=None),),
        },
    ],
)
def test_damaged_price_is_not_known(price: dict[str, Any]) -> None:
    """A record can be derived whatever the mirror holds: an audit also derives from damaged rows."""
    assert {"usd": None} == mrr(facts(prices=(replace(PRICE, **price),)))


def test_first_flat_amount_is_charged_for_nothing() -> None:
    """A base fee is the flat amount of the first tier, which a quantity of 0 reaches."""
    price = replace(
        PRICE,
        billing_scheme="tiered",
        tiers_mode="graduated",
        tiers=(Tier(flat_amount="900", unit_amount="1"),),
    )
    assert {"usd": 900} == mrr(facts(prices=(price,), items=(replace(ITEM, quantity=0),)))


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        ({"status": "active"}, {"usd": 2000}),
        ({"status": "active", "cancel_at_period_end": True}, {"usd": 2000}),
        ({"status": "past_due"}, {"usd": 2000}),
        ({"status": "active", "pause_collection": "void"}, {"usd": 0}),
        ({"status": "active", "pause_collection": "keep_as_draft"}, {"usd": 2000}),
        ({"status": "trialing"}, {}),
        ({"status": "unpaid"}, {}),
        ({"status": "paused"}, {}),
        ({"status": "canceled", "ended_at": day(50)}, {}),
        ({"status": "incomplete"}, {}),
    ],
)  # fmt: skip
def test_only_what_is_paid_for_counts(subscription: dict[str, Any], expected: dict[str, int]) -> None:
    """Trials bring nothing yet, unpaid subscriptions no longer; case 44: void collection is 0."""
    assert expected == mrr(facts(subscriptions=(replace(SUBSCRIPTION, **subscription),)))


def test_deleted_customers_bring_nothing() -> None:
    """Deleting a customer ends its subscriptions, whether or not we saw their events."""
    assert {} == mrr(facts(deleted_at=day(3)))


def test_each_currency_by_itself() -> None:
    """Two subscriptions in dollars are added up, one in euros is not; rounding comes last."""
    yearly = replace(PRICE, id="price_y", interval="year", unit_amount=1000, unit_amount_decimal="1000")
    euros = replace(PRICE, id="price_e", currency="eur")
    found = mrr(
        facts(
            subscriptions=(
                SUBSCRIPTION,
                replace(SUBSCRIPTION, id="sub_2"),
                replace(SUBSCRIPTION, id="sub_3", currency="eur"),
            ),
            items=(
                replace(ITEM, price_id="price_y"),
                replace(ITEM, id="si_2", subscription_id="sub_2", price_id="price_y"),
                replace(ITEM, id="si_3", subscription_id="sub_3", price_id="price_e"),
            ),
            prices=(yearly, euros),
        )
    )
    assert {"eur": 2000, "usd": 167} == found


QUARTER = Discount(id="di_1", coupon_id="co_1", percent_off="25", duration="forever")
THREE_OFF = Discount(id="di_2", coupon_id="co_2", amount_off=300, currency="usd", duration="forever")
BARE = Discount(id="di_3", coupon_id="co_3")
COUPON = Coupon(
    id="co_3", created=None, name=None, duration="forever", duration_in_months=None, percent_off="50", amount_off=None,
    currency=None, applies_to=(), max_redemptions=None, redeem_by=None, times_redeemed=None, valid=True, metadata={},
)  # fmt: skip


@pytest.mark.parametrize(
    ("discounts", "expected"),
    [
        ((), 2000),
        ((QUARTER,), 1500),
        ((replace(QUARTER, percent_off="25.5"),), 1490),
        ((replace(QUARTER, percent_off="100"),), 0),
        ((THREE_OFF,), 1700),
        ((replace(THREE_OFF, amount_off=3000),), 0),
        ((QUARTER, THREE_OFF), 1200),
        ((THREE_OFF, QUARTER), 1275),
        ((replace(QUARTER, duration="once"),), 2000),
        ((replace(QUARTER, duration="repeating", ends=day(101)),), 1500),
        ((replace(QUARTER, duration="repeating", ends=day(100)),), 2000),
        ((replace(THREE_OFF, currency="eur"),), None),
        ((BARE,), 1000),
        ((replace(BARE, coupon_id="co_gone"),), None),
        (None, None),
    ],
)  # fmt: skip
def test_discounts_that_go_on_are_taken_off(
    discounts: tuple[Discount, ...] | None, expected: int | None
) -> None:
    """In their order, `once` never, `repeating` until its end; unknown if Stripe does not say the amount."""
    of = facts(subscriptions=(replace(SUBSCRIPTION, discounts=discounts),), coupons=(COUPON,))
    assert {"usd": expected} == mrr(of)


def test_discount_of_one_item() -> None:
    """It reduces its own item and no other."""
    items = (replace(ITEM, discounts=(QUARTER,)), replace(ITEM, id="si_2"))
    assert {"usd": 3500} == mrr(facts(items=items))


SUPPORT = replace(PRICE, id="price_2", product_id="prod_2", unit_amount=8000, unit_amount_decimal="8000")
BOTH = {
    "items": (ITEM, replace(ITEM, id="si_2", price_id="price_2", product_id="prod_2")),
    "prices": (PRICE, SUPPORT),
}


@pytest.mark.parametrize(
    ("applies_to", "terms", "expected"),
    [
        ((), {}, 5000),
        (("prod_2",), {}, 6000),
        (("prod_1",), {}, 9000),
        (("prod_1", "prod_2"), {}, 5000),
        (("prod_gone",), {}, 10000),
        (None, {}, None),
        (("prod_2",), {"percent_off": "100"}, 2000),
        (("prod_1",), {"percent_off": None, "amount_off": 500, "currency": "usd"}, 9500),
        (("prod_1",), {"percent_off": None, "amount_off": 2500, "currency": "usd"}, 8000),
    ],
)
def test_coupon_of_certain_products(
    applies_to: tuple[str, ...] | None, terms: dict[str, Any], expected: int | None
) -> None:
    """It reduces only their items, whatever holds it; not known while Stripe has not said which products they are."""
    coupon = replace(COUPON, applies_to=applies_to, **terms)
    # A read also states the coupon's terms in the discount, but not the products that it is limited to.
    stated = replace(
        BARE, percent_off=coupon.percent_off, amount_off=coupon.amount_off, currency=coupon.currency
    )
    for discount in (BARE, stated):
        of_subscription = facts(
            **BOTH, coupons=(coupon,), subscriptions=(replace(SUBSCRIPTION, discounts=(discount,)),)
        )
        of_customer = facts(**BOTH, coupons=(coupon,), customer=replace(CUSTOMER, discounts=(discount,)))
        assert {"usd": expected} == mrr(of_subscription) == mrr(of_customer)


def test_what_a_coupon_is_for_where_nobody_has_told() -> None:
    """A subscription to one product has no coupon for others; its customer may."""
    assert {"usd": 1500} == mrr(facts(subscriptions=(replace(SUBSCRIPTION, discounts=(QUARTER,)),)))
    assert {"usd": None} == mrr(facts(customer=replace(CUSTOMER, discounts=(QUARTER,))))
    items = (replace(ITEM, discounts=(QUARTER,)), BOTH["items"][1])
    assert {"usd": 1500 + 8000} == mrr(facts(**BOTH | {"items": items}))


HALF = replace(BARE, percent_off="50", coupon_created=day(1), starts=day(2))


@pytest.mark.parametrize(
    ("discount", "coupon", "of_one", "of_both"),
    [
        pytest.param(HALF, {"created": day(1)}, 1000, 5000, id="the coupon that it was made from"),
        pytest.param(
            HALF, {"created": day(3)}, 1000, None, id="made again: what it takes off is in the discount"
        ),
        pytest.param(
            HALF,
            {"created": day(3), "applies_to": ("prod_9",)},
            1000,
            None,
            id="made again, for another product",
        ),
        pytest.param(
            HALF, {"created": day(3), "percent_off": "10"}, 1000, None, id="made again, with other terms"
        ),
        pytest.param(replace(HALF, starts=None), {"created": day(3)}, 1000, None, id="by its creation alone"),
        pytest.param(
            replace(HALF, coupon_created=None), {"created": day(1)}, 1000, 5000, id="by its start alone"
        ),
        pytest.param(replace(HALF, coupon_created=None), {"created": day(2)}, 1000, 5000, id="given at once"),
        pytest.param(
            replace(HALF, coupon_created=None), {"created": day(3)}, 1000, None, id="started before it"
        ),
        pytest.param(replace(BARE, starts=day(2)), {"created": day(1)}, 1000, 5000, id="named by its id"),
        pytest.param(
            replace(BARE, starts=day(2)), {"created": day(3)}, None, None, id="named by its id: never seen"
        ),
        pytest.param(BARE, {"created": day(3)}, 1000, 5000, id="nothing tells them apart"),
        pytest.param(HALF, {}, 1000, 5000, id="its creation unknown"),
    ],
)
def test_a_coupon_made_again_under_its_id(
    discount: Discount, coupon: dict[str, Any], of_one: int | None, of_both: int | None
) -> None:
    """I6: a discount keeps the terms of the coupon that it was made from; where those were never seen,
    nothing is known.
    """
    terms = {
        "coupons": (replace(COUPON, **coupon),),
        "subscriptions": (replace(SUBSCRIPTION, discounts=(discount,)),),
    }
    assert {"usd": of_one} == mrr(facts(**terms))
    assert {"usd": of_both} == mrr(facts(**terms, **BOTH))


@pytest.mark.parametrize(
    ("discount", "of_both"),
    [
        pytest.param(HALF, 6000, id="the first of three"),
        pytest.param(replace(HALF, coupon_created=day(3), starts=day(4)), 9000, id="the second"),
        pytest.param(replace(HALF, coupon_created=day(5), starts=day(6)), 5000, id="the one of today"),
        pytest.param(replace(HALF, coupon_created=day(4)), None, id="one that was never seen"),
        pytest.param(replace(HALF, coupon_created=None, starts=day(4)), 9000, id="the second, by its start"),
        pytest.param(replace(HALF, coupon_created=None, starts=day(0)), None, id="before all of them"),
        pytest.param(
            replace(HALF, coupon_created=None, starts=None), 5000, id="nothing tells: the one of today"
        ),
    ],
)
def test_coupons_that_had_the_same_id(discount: Discount, of_both: int | None) -> None:
    """I6: earlier coupons of an id are known, and each discount finds its own, in whatever order they are read."""
    coupons = (
        replace(COUPON, created=day(5)),
        replace(COUPON, created=day(1), applies_to=("prod_2",)),
        replace(COUPON, created=day(3), applies_to=("prod_1",)),
    )
    for order in itertools.permutations(coupons):
        subscriptions = (replace(SUBSCRIPTION, discounts=(discount,)),)
        assert {"usd": of_both} == mrr(facts(coupons=order, subscriptions=subscriptions, **BOTH))


def test_a_coupon_is_older_than_its_discounts_only_by_one_clock() -> None:
    """On a test clock discounts start by that clock, and coupons are made by the real one."""
    early = replace(BARE, starts=day(2))
    of = facts(
        coupons=(replace(COUPON, created=day(3)),),
        subscriptions=(replace(SUBSCRIPTION, discounts=(early,)),),
        customer=replace(CUSTOMER, test_clock="clock_1"),
    )
    assert {"usd": 1000} == mrr(of)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((AmountOff(currency="eur", amount_off=250),), 1750),
        ((AmountOff(currency="gbp", amount_off=200), AmountOff(currency="eur", amount_off=300)), 1700),
        ((AmountOff(currency="gbp", amount_off=200),), None),
        (None, None),
    ],
)
@pytest.mark.parametrize("named_only", [True, False])
def test_coupon_in_several_currencies(
    options: tuple[AmountOff, ...] | None, expected: int | None, named_only: bool
) -> None:
    """The amount in the subscription's currency is taken off; not known while Stripe has not said it."""
    coupon = replace(COUPON, percent_off=None, amount_off=300, currency="usd", currency_options=options)
    discount = BARE if named_only else replace(BARE, amount_off=300, currency="usd")
    euros = replace(PRICE, currency="eur")
    subscription = replace(SUBSCRIPTION, currency="eur", discounts=(discount,))
    assert {"eur": expected} == mrr(facts(coupons=(coupon,), prices=(euros,), subscriptions=(subscription,)))


def test_an_amount_off_is_shared_out() -> None:
    """Each of 20.00 and 80.00 bears its share of 10.00, so a coupon for one of them after it finds less there."""
    of_support = replace(COUPON, id="co_4", applies_to=("prod_2",))
    of_all = replace(COUPON, id="co_2")
    discounts = (replace(THREE_OFF, amount_off=1000), replace(BARE, coupon_id="co_4"))
    of = facts(
        **BOTH, coupons=(of_support, of_all), subscriptions=(replace(SUBSCRIPTION, discounts=discounts),)
    )
    assert {"usd": 1800 + 7200 // 2} == mrr(of)


def test_a_discount_that_is_only_named_is_not_known() -> None:
    """A payload says that there is one, but not what it takes off."""
    of = facts(subscriptions=(replace(SUBSCRIPTION, discounts=(Discount(id="di_9"),)),), coupons=(COUPON,))
    assert {"usd": None} == mrr(of)


def test_amount_off_is_taken_with_each_invoice() -> None:
    """3.00 off each yearly invoice is 0.25 a month."""
    yearly = replace(PRICE, interval="year", unit_amount=12000, unit_amount_decimal="12000")
    of = facts(prices=(yearly,), subscriptions=(replace(SUBSCRIPTION, discounts=(THREE_OFF,)),))
    assert {"usd": 975} == mrr(of)


def test_customers_discount_is_for_subscriptions_without_their_own() -> None:
    """Two subscriptions, one with a discount of its own: the customer's applies to the other."""
    of = facts(
        customer=replace(CUSTOMER, discounts=(QUARTER,)),
        coupons=(replace(COUPON, id="co_1"),),
        subscriptions=(SUBSCRIPTION, replace(SUBSCRIPTION, id="sub_2", discounts=(THREE_OFF,))),
        items=(ITEM, replace(ITEM, id="si_2", subscription_id="sub_2")),
    )
    assert {"usd": 1500 + 1700} == mrr(of)


def test_end_of_a_discount_is_a_moment_to_derive_again() -> None:
    """Stripe sends no event when a discount ends, so the next end is returned."""
    ends = [replace(QUARTER, ends=day(number)) for number in (90, 120, 110)]
    of = facts(subscriptions=(replace(SUBSCRIPTION, discounts=tuple(ends)),))
    assert day(110) == Mrr(of).next_end_of_discount(as_of=NOW)
    assert day(120) == Mrr(of).next_end_of_discount(as_of=day(110))
    assert None is Mrr(of).next_end_of_discount(as_of=day(120))


# --- The past, as far as facts show -----------------------------------------------------------------------------------


def steps(*values: int, at: list[datetime]) -> tuple[Change, ...]:
    """A chain from 0 through these values."""
    before = [0, *values]
    return tuple(
        Change(mrr_before=left, mrr_after=right, changed_at=moment)
        for left, right, moment in zip(before, values, at, strict=False)
    )


ENDED: dict[str, Any] = {"status": "canceled", "ended_at": day(60)}


LATER_TRIAL: dict[str, Any] = {"trial_start": day(40), "trial_end": day(70)}


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        ({}, steps(2000, at=[day(0)])),
        ({"trial_start": day(0), "trial_end": day(14)}, steps(2000, at=[day(14)])),
        (ENDED, steps(2000, 0, at=[day(0), day(60)])),
        ({**ENDED, "trial_start": day(0), "trial_end": day(60)}, ()),
        ({"status": "trialing", "trial_end": day(110)}, ()),
        ({"status": "unpaid"}, ()),
        ({"status": "incomplete_expired", "ended_at": day(1)}, ()),
        ({"discounts": (replace(QUARTER, ends=day(90)),)}, steps(1500, 2000, at=[day(0), day(90)])),
        ({"discounts": (replace(QUARTER, ends=day(120)),)}, steps(1500, at=[day(0)])),
        ({**ENDED, "discounts": (replace(QUARTER, ends=day(90)),)}, steps(1500, 0, at=[day(0), day(60)])),
        (LATER_TRIAL, steps(2000, 0, 2000, at=[day(0), day(40), day(70)])),
        ({**LATER_TRIAL, "status": "trialing"}, steps(2000, 0, at=[day(0), day(40)])),
        ({**LATER_TRIAL, **ENDED}, steps(2000, 0, at=[day(0), day(40)])),
        (
            {**LATER_TRIAL, **ENDED, "ended_at": day(80)},
            steps(2000, 0, 2000, 0, at=[day(0), day(40), day(70), day(80)]),
        ),
        (
            {**LATER_TRIAL, "discounts": (replace(QUARTER, ends=day(50)),)},
            steps(1500, 0, 2000, at=[day(0), day(40), day(70)]),
        ),
    ],
)  # fmt: skip
def test_past_of_a_subscription(subscription: dict[str, Any], expected: tuple[Change, ...]) -> None:
    """Dated at its start, or the end of its trial, and at its end: an attached account has no one giant month."""
    of = facts(subscriptions=(replace(SUBSCRIPTION, **subscription),))
    assert expected == Mrr(of).past("usd", as_of=NOW)


def test_past_of_a_plan_change_is_one_chain() -> None:
    """A cancellation and a new subscription in one second are one step: no customer left or came."""
    of = facts(
        subscriptions=(
            replace(SUBSCRIPTION, **ENDED),
            replace(SUBSCRIPTION, id="sub_2", start_date=day(60)),
        ),
        items=(ITEM, replace(ITEM, id="si_2", subscription_id="sub_2", quantity=2)),
    )
    assert steps(2000, 4000, at=[day(0), day(60)]) == Mrr(of).past("usd", as_of=NOW)


def test_past_of_a_deleted_customer_ends_with_it() -> None:
    """Deleted without its subscription's last event: what it paid ended then."""
    assert steps(2000, 0, at=[day(0), day(70)]) == Mrr(facts(deleted_at=day(70))).past("usd", as_of=NOW)


@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired", "unpaid", "paused", "trialing"])
@pytest.mark.parametrize("ended_at", [None, day(1), day(69)])
def test_past_of_a_deleted_customer_has_only_what_was_paid_for(
    status: str, ended_at: datetime | None
) -> None:
    """An abandoned Checkout brought nothing, and the customer's deletion does not change that."""
    own = replace(SUBSCRIPTION, status=status, ended_at=ended_at)
    assert () == Mrr(facts(subscriptions=(own,), deleted_at=day(70))).past("usd", as_of=NOW)


def test_past_begins_after_the_first_trial_of_several() -> None:
    """Stripe shows the end of a later trial: the first boundary shows when the first one was over. Classic billing
    keeps the first trial's start, flexible billing moves it.
    """
    boundaries = tuple(cycle_invoice(day(number)) for number in (14, 44))
    free = replace(INVOICE, subtotal=0, total=0, amount_due=0, lines_period_end=day(14))
    classic = replace(SUBSCRIPTION, trial_start=day(0), trial_end=day(70))
    of = facts(subscriptions=(classic,), invoices=boundaries)
    assert steps(2000, at=[day(14)]) == Mrr(of).past("usd", as_of=NOW)
    flexible = replace(classic, trial_start=day(50))
    of = facts(subscriptions=(flexible,), invoices=(free, *boundaries))
    assert steps(2000, 0, 2000, at=[day(14), day(50), day(70)]) == Mrr(of).past("usd", as_of=NOW)


# --- Revising a history -----------------------------------------------------------------------------------------------


def test_first_exact_record_writes_the_past() -> None:
    """Steps shown before anything was confirmed are replaced by what the facts show."""
    shown = Change(mrr_before=0, mrr_after=500, changed_at=day(99))
    past = steps(2000, at=[day(0)])
    chain = Chain(ends_at=500, changed_at=day(99), tail=((7, shown),))
    revision = revise_mrr(chain, mrr=2000, exact=True, past=past, moment=NOW)
    assert ((7,), (), past) == (revision.taken_back, revision.confirmed, revision.appended)


def test_first_exact_record_confirms_what_it_agrees_with() -> None:
    """First shown from a payload, then read: the same rows, confirmed."""
    past = steps(2000, 0, at=[day(0), day(60)])
    chain = Chain(ends_at=0, changed_at=day(60), tail=tuple(enumerate(past, start=1)))
    revision = revise_mrr(chain, mrr=0, exact=True, past=past, moment=NOW)
    assert ((), (1, 2), ()) == (revision.taken_back, revision.confirmed, revision.appended)


def test_past_that_ends_elsewhere_is_led_on() -> None:
    """A past that cannot be seen whole still ends at the customer's present MRR."""
    revision = revise_mrr(Chain(), mrr=300, exact=True, past=steps(2000, at=[day(0)]), moment=day(5))
    assert steps(2000, 300, at=[day(0), day(5)]) == revision.appended


MOMENTS = st.integers(0, 40).map(lambda number: day(0) + timedelta(days=number))


@given(
    records=st.lists(
        st.tuples(st.sampled_from([0, 500, 1000, 2000]), st.booleans(), MOMENTS), min_size=1, max_size=12
    ),
    past=st.sampled_from([(), steps(2000, at=[day(0)]), steps(500, 0, 1000, at=[day(0), day(3), day(20)])]),
)
def test_revised_history_is_always_a_chain(
    records: list[tuple[int, bool, datetime]], past: tuple[Change, ...]
) -> None:
    """Through any records it is a chain from 0 to the latest MRR whose times never go back, its confirmed part first;
    an exact record leaves nothing unconfirmed.
    """
    history: list[tuple[int, Change, bool]] = []
    numbers = iter(range(1, 1000))
    for mrr_now, exact, moment in records:
        settled = [step for _, step, confirmed in history if confirmed]
        chain = Chain(
            settled=bool(settled),
            ends_at=history[-1][1].mrr_after if history else 0,
            changed_at=history[-1][1].changed_at if history else None,
            settled_at=settled[-1].changed_at if settled else None,
            tail=tuple((number, step) for number, step, confirmed in history if not confirmed),
        )
        revision = revise_mrr(chain, mrr=mrr_now, exact=exact, past=past, moment=moment)
        history = [
            (number, step, confirmed or number in revision.confirmed)
            for number, step, confirmed in history
            if number not in revision.taken_back
        ]
        history += [(next(numbers), step, exact) for step in revision.appended]
        chained = [step for _, step, _ in history]
        assert [step.mrr_before for step in chained] == [0, *(step.mrr_after for step in chained)][
            :-1
        ] or not chained
        assert mrr_now == (chained[-1].mrr_after if chained else 0)
        assert all(step.mrr_before != step.mrr_after for step in chained)
        assert sorted(step.changed_at for step in chained) == [step.changed_at for step in chained]
        confirmed = [each[2] for each in history]
        assert sorted(confirmed, reverse=True) == confirmed
        assert not exact or all(confirmed)


@pytest.mark.parametrize(
    ("told_by_facts", "told_by_events", "after", "expected"),
    [
        pytest.param([(0, 2000)], [40], None, 0, id="a beginning"),
        pytest.param([(0, 2000), (31, 2000)], [33], 0, 31, id="its news came later"),
        pytest.param([(31, "1999.5")], [33], 0, 31, id="but for the rounding"),
        pytest.param([(31, 1999)], [33], 0, 33, id="another change came with it"),
        pytest.param([(0, 2000)], [10], 0, 10, id="the change before was that beginning"),
        pytest.param([(31, 3000), (31, -1000)], [33], 0, 31, id="two moves at once"),
        pytest.param([(31, 3000), (32, -1000)], [33], 0, 32, id="two moves, told together"),
        pytest.param([(31, 2000), (32, 500), (32.5, -500)], [33], 0, 31, id="one of several"),
        pytest.param([], [10, 40], 0, 40, id="the latest event"),
        pytest.param([], [10], 30, 100, id="an event from before"),
        pytest.param([], [30], 30, 30, id="an event in the same second"),
        pytest.param([], [], None, 100, id="nobody told"),
    ],
)  # fmt: skip
def test_moment_of_a_change(
    told_by_facts: list[tuple[float, int | str]],
    told_by_events: list[int],
    after: int | None,
    expected: int,
) -> None:
    """For a rise of 2000: facts that account for it date it, else the latest event since; else it has happened
    by now.
    """
    found = moment_of_change(
        by=2000,
        moves=[(day(number), Decimal(amount)) for number, amount in told_by_facts],
        event_moments=[day(number) for number in told_by_events],
        after=None if after is None else day(after),
        as_of=NOW,
    )
    assert day(expected) == found


def test_a_month_is_what_the_example_says() -> None:
    """The story of docs/record.md: a yearly price, half off, in the second year."""
    yearly = replace(PRICE, interval="year", unit_amount=24000, unit_amount_decimal="24000")
    of = facts(
        prices=(yearly,),
        subscriptions=(
            replace(SUBSCRIPTION, discounts=(replace(QUARTER, percent_off="50", ends=month(13)),)),
        ),
    )
    assert ({"usd": 1000}, {"usd": 2000}) == (mrr(of, as_of=month(12)), mrr(of, as_of=month(13)))
