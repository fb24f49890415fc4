"""Objects look as Stripe shows them in the newest version and in those before basil."""

import json
from typing import Any

import pytest

from sandbox import BEFORE_BASIL, ENDIVE, MIXED, OLDEST, Sandbox
from sandbox.objects import Coupon, Thing
from sandbox.shapes import render
from sandbox.versions import CannotExpandError, version

Body = dict[str, Any]


def played(*names: str) -> Sandbox:
    sandbox = Sandbox(4)
    sandbox.play(list(names))
    sandbox.run()
    return sandbox


def latest(sandbox: Sandbox, kind: str) -> Thing:
    return sandbox.home.shelves[kind].rows[-1]


def shown(sandbox: Sandbox, kind: str, name: str, *expands: str) -> Body:
    return render(latest(sandbox, kind), version(name), sandbox.home, expands)


def test_subscription_periods_stand_in_items_since_basil() -> None:
    sandbox = played("one_payment")
    new, middle, old = (shown(sandbox, "subscription", name) for name in (ENDIVE, BEFORE_BASIL, OLDEST))
    assert "current_period_end" not in new
    assert new["items"]["data"][0]["current_period_end"] == middle["current_period_end"]
    # A 2024 payload of today carries the additive new fields as well; the oldest has none of them.
    assert middle["items"]["data"][0]["current_period_end"] == old["current_period_end"]
    assert "current_period_end" not in old["items"]["data"][0]
    assert "billing_mode" in new
    assert "billing_mode" not in old
    assert old["plan"]["id"] == old["items"]["data"][0]["price"]["id"]


def test_discounts_are_one_object_or_many_ids() -> None:
    sandbox = played("half_off")
    new, middle, old = (shown(sandbox, "subscription", name) for name in (ENDIVE, BEFORE_BASIL, OLDEST))
    assert ["di_"] == [discount[:3] for discount in new["discounts"]]
    assert "discount" not in new
    assert middle["discounts"] == new["discounts"] == [middle["discount"]["id"]]
    assert "discounts" not in old
    assert 50.0 == old["discount"]["coupon"]["percent_off"]
    expanded = shown(sandbox, "subscription", ENDIVE, "discounts")["discounts"][0]
    assert ("discount", "coupon") == (expanded["object"], expanded["source"]["type"])


def test_coupons_say_what_they_are_limited_to_when_asked() -> None:
    """Neither a payload nor a plain read shows its products; a coupon that is not limited says null."""
    sandbox = played("discount_of_one_product", "half_off")
    coupons = [each for each in sandbox.home.shelves["coupon"].rows if isinstance(each, Coupon)]
    assert not [event for event in sandbox.events if b"applies_to" in event.body]
    limits = []
    for coupon in coupons:
        assert "applies_to" not in render(coupon, version(ENDIVE), sandbox.home)
        limits.append(render(coupon, version(ENDIVE), sandbox.home, ["applies_to"])["applies_to"])
    assert [{"products": list(each.applies_to)} if each.applies_to else None for each in coupons] == limits
    assert None in limits
    assert any(limits)


def test_invoice_links() -> None:
    """Subscription, charge and payment intent of an invoice are fields of it before basil, elsewhere since."""
    sandbox = played("one_payment")
    new, old = (shown(sandbox, "invoice", name) for name in (ENDIVE, OLDEST))
    assert (
        not {"subscription", "charge", "payment_intent", "paid", "paid_out_of_band", "payments"} & new.keys()
    )
    assert new["parent"]["subscription_details"]["subscription"] == old["subscription"]
    assert "parent" not in old
    assert (True, False) == (old["paid"], old["paid_out_of_band"])
    assert latest(sandbox, "charge").id == old["charge"]
    assert latest(sandbox, "payment_intent").id == old["payment_intent"]
    new_line, old_line = new["lines"]["data"][0], old["lines"]["data"][0]
    assert new_line["pricing"]["price_details"]["price"] == old_line["price"]["id"]
    assert new_line["parent"]["subscription_item_details"]["subscription"] == old_line["subscription"]
    assert ("subscription_item_details", "subscription") == (new_line["parent"]["type"], old_line["type"])


def test_payments_only_on_request() -> None:
    sandbox = played("invoice_paid_both_ways")
    paths = ("payments", "amount_paid_off_stripe")
    body = shown(sandbox, "invoice", ENDIVE, *paths)
    assert (3000, 1000) == (body["amount_paid"], body["amount_paid_off_stripe"])
    payments = body["payments"]["data"]
    assert {("payment_record", 1000), ("payment_intent", 2000)} == {
        (payment["payment"]["type"], payment["amount_paid"]) for payment in payments
    }
    # Before basil, amount_paid leaves out money from outside Stripe, and these lists do not exist.
    assert 2000 == shown(sandbox, "invoice", BEFORE_BASIL)["amount_paid"]
    with pytest.raises(CannotExpandError):
        shown(sandbox, "invoice", BEFORE_BASIL, "payments")


def test_out_of_band_before_basil() -> None:
    sandbox = Sandbox(4)
    customer = sandbox.home.clients.create("Ada", "ada@example.com")
    invoice = sandbox.home.invoices.bill_once(customer, 2000, "Book", collects=False)
    sandbox.home.invoices.pay_out_of_band(invoice)
    old = shown(sandbox, "invoice", OLDEST)
    assert (True, 0, 2000) == (old["paid_out_of_band"], old["amount_paid"], old["amount_due"])
    assert 2000 == shown(sandbox, "invoice", ENDIVE)["amount_paid"]


def test_refunds_of_a_charge() -> None:
    """Included in the oldest version, on request since then; newest refund first, ten at most."""
    sandbox = Sandbox(4)
    customer = sandbox.home.clients.create("Ada", "ada@example.com")
    _, charge = sandbox.home.payments.pay_once(customer, 12_000)
    refunds = [sandbox.home.payments.refund(charge, 1000) for _ in range(12)]
    assert "refunds" not in shown(sandbox, "charge", ENDIVE)
    for body in (shown(sandbox, "charge", OLDEST), shown(sandbox, "charge", ENDIVE, "refunds")):
        assert [refund.id for refund in reversed(refunds[2:])] == [
            row["id"] for row in body["refunds"]["data"]
        ]
        assert body["refunds"]["has_more"]
        assert (12_000, True) == (body["amount_refunded"], body["refunded"])
    assert customer.id == shown(sandbox, "refund", ENDIVE)["customer"]
    assert "customer" not in shown(sandbox, "refund", BEFORE_BASIL)


def test_long_lists_are_cut() -> None:
    sandbox = played("many_items")
    [created] = [
        json.loads(event.body)["data"]["object"]
        for event in sandbox.events
        if event.type == "customer.subscription.created"
    ]
    assert (10, True) == (len(created["items"]["data"]), created["items"]["has_more"])
    assert created["items"]["url"].endswith(created["id"])


def test_expands_reach_through_objects() -> None:
    sandbox = played("one_payment")
    paths = ("items.data.price.product", "latest_invoice.payments", "customer")
    body = shown(sandbox, "subscription", ENDIVE, *paths)
    assert "product" == body["items"]["data"][0]["price"]["product"]["object"]
    assert "paid" == body["latest_invoice"]["payments"]["data"][0]["status"]
    assert "customer" == body["customer"]["object"]
    with pytest.raises(CannotExpandError, match=r"This property cannot be expanded \(customer.foo\)"):
        shown(sandbox, "subscription", ENDIVE, "customer.foo")


def test_dispute_shows_the_money_that_moved() -> None:
    body = shown(played("chargeback_won"), "dispute", ENDIVE)
    assert [-2000, 2000] == [entry["amount"] for entry in body["balance_transactions"]]
    assert [1500, 0] == [entry["fee"] for entry in body["balance_transactions"]]
    assert [] == shown(played("inquiry_closed"), "dispute", ENDIVE)["balance_transactions"]


def test_mixed_versions() -> None:
    """An endpoint may see the same account in several shapes; each event names its own."""
    sandbox = Sandbox(4, event_versions=MIXED)
    sandbox.play("three_renewals")
    seen = set()
    for event in sandbox.run():
        body = json.loads(event.body)
        assert event.api_version == body["api_version"]
        if event.type == "customer.subscription.updated":
            seen.add(event.api_version)
            assert ("current_period_end" in body["data"]["object"]) == (event.api_version != ENDIVE)
            assert "previous_attributes" in body["data"]
    assert set(MIXED) == {json.loads(event.body)["api_version"] for event in sandbox.events}
    assert len(seen) > 1
