"""Revenue: the cases E of the catalogue, as tables of what Stripe's objects say and what the money was."""

import itertools
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from billing.facts import CustomerFacts
from billing.kinds.invoices import Invoice
from billing.kinds.parse import parse_object
from billing.kinds.payments import Dispute, Refund
from billing.record import customer_uid
from billing.revenue import Revenue, disputed_amount, main_revenue, out_of_band_amount, revenue_of
from tests.billing.examples import (
    CHARGE,
    CREDIT_NOTE,
    DISPUTE,
    FACTS,
    INVOICE,
    REFUND,
    SESSION,
    day,
    derive,
    net_of,
)

UID = UUID("5d3f5a3e-6f0e-4a86-9b3c-2d7f0c9f1a11")
PAID = replace(FACTS, charges=(CHARGE,))
FULL_REFUND = replace(REFUND, amount=2000)
LOST = replace(DISPUTE, status="lost")
WON = replace(DISPUTE, status="won", movements=2, moved_amount=0)
AUTHORIZED = replace(CHARGE, amount=20675, amount_captured=20300, amount_refunded=375)
OFF_STRIPE = replace(INVOICE, amount_paid_off_stripe=2000)


def refunded(*refunds: Refund, total: int) -> CustomerFacts:
    """The paid charge with these refunds; `total` is Stripe's own sum on the charge."""
    numbered = tuple(replace(refund, id=f"re_{number}") for number, refund in enumerate(refunds))
    return replace(FACTS, charges=(replace(CHARGE, amount_refunded=total),), refunds=numbered)


def disputed(*disputes: Dispute, **changes: Any) -> CustomerFacts:
    return replace(PAID, disputes=disputes, **changes)


def invoiced(*invoices: Invoice, charges: int = 0) -> CustomerFacts:
    return replace(
        FACTS,
        invoices=invoices,
        charges=tuple(replace(CHARGE, id=f"ch_{number}") for number in range(charges)),
    )


def credited(
    out_of_band_amount: int | None, *, invoices: Any = (), charges: Any = (), **changes: Any
) -> CustomerFacts:
    """The payment, and one credit note for it."""
    note = replace(CREDIT_NOTE, out_of_band_amount=out_of_band_amount, **changes)
    return replace(FACTS, invoices=invoices, charges=charges, credit_notes=(note,))


# The case, the facts, and per currency: gross, refunded, disputed, out of band, net.
Row = tuple[int, int, int, int, int]
REVENUE_CASES: list[tuple[str, CustomerFacts, dict[str, Row]]] = [
    ("nothing", FACTS, {}),
    ("E80 a charge", PAID, {"usd": (2000, 0, 0, 0, 2000)}),
    (
        "E80 seen by its invoice, too",
        replace(PAID, invoices=(replace(INVOICE, amount_paid_off_stripe=0),)),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E80 by an invoice as a payload has it",
        replace(PAID, invoices=(INVOICE,)),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    ("E81 a refund", refunded(REFUND, total=500), {"usd": (2000, 500, 0, 0, 1500)}),
    (
        "E81 and the rest",
        refunded(REFUND, replace(REFUND, amount=1500), total=2000),
        {"usd": (2000, 2000, 0, 0, 0)},
    ),
    ("E81 the refund itself not seen yet", refunded(total=500), {"usd": (2000, 500, 0, 0, 1500)}),
    ("E81 the charge not seen again yet", refunded(REFUND, total=0), {"usd": (2000, 500, 0, 0, 1500)}),
    (
        "E82 a refund failed, Stripe's total not lowered",
        refunded(replace(FULL_REFUND, status="failed"), total=2000),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E82 a refund failed, Stripe's total lowered",
        refunded(replace(FULL_REFUND, status="failed"), total=0),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "one of two refunds failed",
        refunded(REFUND, replace(REFUND, status="failed"), total=1000),
        {"usd": (2000, 500, 0, 0, 1500)},
    ),
    (
        "E83 a refund is pending",
        refunded(replace(REFUND, status="pending"), total=500),
        {"usd": (2000, 500, 0, 0, 1500)},
    ),
    (
        "E83 a refund waits for the customer",
        refunded(replace(REFUND, status="requires_action"), total=0),
        {"usd": (2000, 500, 0, 0, 1500)},
    ),
    (
        "E83 and is canceled",
        refunded(replace(REFUND, status="canceled"), total=500),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "a refund of unknown status: Stripe's total decides",
        refunded(replace(REFUND, status="resting"), total=500),
        {"usd": (2000, 500, 0, 0, 1500)},
    ),
    (
        "refunds of unknown amount",
        refunded(replace(REFUND, amount=None), replace(REFUND, amount=None, status="failed"), total=500),
        {"usd": (2000, 500, 0, 0, 1500)},
    ),
    (
        "E84 L1 a partial capture",
        replace(FACTS, charges=(AUTHORIZED,)),
        {"usd": (20300, 0, 0, 0, 20300)},
    ),
    (
        "E84 L1 its release booked as a refund",
        replace(FACTS, charges=(AUTHORIZED,), refunds=(replace(REFUND, amount=375),)),
        {"usd": (20300, 0, 0, 0, 20300)},
    ),
    (
        "E84 then a real refund",
        replace(
            FACTS,
            charges=(replace(AUTHORIZED, amount_refunded=675),),
            refunds=(replace(REFUND, amount=375), replace(REFUND, id="re_2", amount=300)),
        ),
        {"usd": (20300, 300, 0, 0, 20000)},
    ),
    (
        "more was captured than authorized: nothing was released",
        replace(FACTS, charges=(replace(CHARGE, amount=1000, amount_captured=1200),)),
        {"usd": (1200, 0, 0, 0, 1200)},
    ),
    (
        "E85 L3 an authorization is canceled",
        replace(FACTS, charges=(replace(CHARGE, captured=False, amount_captured=0, amount_refunded=2000),)),
        {},
    ),
    (
        "an authorization not captured, in a shape that says no more",
        replace(FACTS, charges=(replace(CHARGE, captured=False, amount_captured=None),)),
        {},
    ),
    ("E86 L4 bank debit pending", replace(FACTS, charges=(replace(CHARGE, status="pending"),)), {}),
    ("E86 L4 and failed", replace(FACTS, charges=(replace(CHARGE, status="failed"),)), {}),
    ("E87 L8 a chargeback takes the money", disputed(DISPUTE), {"usd": (2000, 0, 2000, 0, 0)}),
    ("E87 won", disputed(WON), {"usd": (2000, 0, 0, 0, 2000)}),
    ("E87 lost", disputed(LOST), {"usd": (2000, 0, 2000, 0, 0)}),
    (
        "E88 L7 an inquiry",
        disputed(
            replace(
                DISPUTE,
                status="warning_needs_response",
                movements=0,
                moved_amount=0,
                moved_currency=None,
            )
        ),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E89 L5 refunded in part, the rest disputed",
        replace(refunded(REFUND, total=500), disputes=(replace(LOST, amount=1500, moved_amount=-1500),)),
        {"usd": (2000, 500, 1500, 0, 0)},
    ),
    (
        "L5 refunded in part, then lost whole, movements unknown: no more than was left",
        replace(
            refunded(REFUND, total=500),
            disputes=(replace(LOST, movements=None, moved_amount=None, moved_currency=None),),
        ),
        {"usd": (2000, 500, 1500, 0, 0)},
    ),
    (
        "a dispute of a charge of nothing still shows",
        disputed(DISPUTE, charges=(replace(CHARGE, amount=0, amount_captured=0),)),
        {"usd": (0, 0, 2000, 0, -2000)},
    ),
    (
        "E91 L10 disputed and paid back in another currency",
        disputed(replace(DISPUTE, amount=1800, currency="eur", moved_amount=-1800, moved_currency="eur")),
        {"usd": (2000, 0, 2000, 0, 0)},
    ),
    (
        "L10 disputed in the charge's currency, settled in another",
        disputed(replace(DISPUTE, amount=1200, moved_amount=-1080, moved_currency="eur")),
        {"usd": (2000, 0, 1200, 0, 800)},
    ),
    (
        "E92 L6 refunded and returned: lost twice",
        replace(refunded(FULL_REFUND, total=2000), disputes=(LOST,)),
        {"usd": (2000, 2000, 2000, 0, -2000)},
    ),
    ("E93 L9 lost, the appeal won", disputed(replace(WON, status="lost")), {"usd": (2000, 0, 0, 0, 2000)}),
    ("reinstated in part", disputed(replace(WON, moved_amount=-700)), {"usd": (2000, 0, 700, 0, 1300)}),
    ("E94 paid off Stripe", invoiced(OFF_STRIPE), {"usd": (0, 0, 0, 2000, 2000)}),
    (
        "E94 the same invoice paid by card",
        invoiced(replace(INVOICE, amount_paid_by_payments=2000), charges=1),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E95 L15 partly off Stripe",
        invoiced(
            replace(
                INVOICE,
                total=3000,
                amount_due=3000,
                amount_paid=3000,
                amount_paid_off_stripe=1000,
                amount_paid_by_payments=2000,
            ),
            charges=1,
        ),
        {"usd": (2000, 0, 0, 1000, 3000)},
    ),
    (
        "E97 before basil",
        invoiced(replace(INVOICE, paid_out_of_band=True, amount_paid=0)),
        {"usd": (0, 0, 0, 2000, 2000)},
    ),
    (
        "E98 L12 a top-up pays a later invoice",
        replace(
            FACTS,
            charges=(replace(CHARGE, amount=10000, amount_captured=10000),),
            invoices=(replace(INVOICE, amount_due=0, amount_paid=0, amount_paid_by_payments=0),),
        ),
        {"usd": (10000, 0, 0, 0, 10000)},
    ),
    (
        "E99 L13 overpaid, the rest pays the next",
        replace(
            FACTS,
            charges=(replace(CHARGE, amount=2500, amount_captured=2500),),
            invoices=(
                replace(INVOICE, amount_paid=2500, amount_paid_by_payments=2500),
                replace(
                    INVOICE,
                    id="in_2",
                    total=500,
                    amount_due=0,
                    amount_paid=0,
                    amount_paid_by_payments=0,
                ),
            ),
        ),
        {"usd": (2500, 0, 0, 0, 2500)},
    ),
    (
        "E100 E101 a credit note or a coupon leaves nothing due",
        invoiced(replace(INVOICE, amount_due=0, amount_paid=0, amount_paid_by_payments=0)),
        {},
    ),
    (
        "E102 L17 a payment record that Stripe itself reports",
        invoiced(replace(INVOICE, amount_paid_off_stripe=0, amount_paid_by_payments=0), charges=1),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E103 L27 two currencies are never added",
        replace(PAID, charges=(CHARGE, replace(CHARGE, id="ch_2", currency="eur", amount_captured=700))),
        {"eur": (700, 0, 0, 0, 700), "usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E96 L18 a credit note gives back outside Stripe what came from there",
        credited(400, invoices=(OFF_STRIPE,)),
        {"usd": (0, 0, 0, 1600, 1600)},
    ),
    (
        "L18 a credit note gives back outside Stripe what came by card",
        credited(400, charges=(CHARGE,)),
        {"usd": (2000, 0, 0, -400, 1600)},
    ),
    (
        "L18 several, each in its currency",
        replace(
            credited(400, invoices=(OFF_STRIPE,)),
            credit_notes=tuple(
                replace(
                    CREDIT_NOTE, id=f"cn_{currency}_{amount}", currency=currency, out_of_band_amount=amount
                )
                for currency, amount in (("usd", 400), ("usd", 100), ("eur", 50))
            ),
        ),
        {"eur": (0, 0, 0, -50, -50), "usd": (0, 0, 0, 1500, 1500)},
    ),
    (
        "L18 a void one gives nothing back",
        credited(400, invoices=(OFF_STRIPE,), status="void"),
        {"usd": (0, 0, 0, 2000, 2000)},
    ),
    (
        "E100 a credit note before payment lowers what was due, and moves no money",
        credited(None, charges=(CHARGE,), type="pre_payment", pre_payment_amount=400, post_payment_amount=0),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "a credit note whose money goes back by a refund: the refund counts, once",
        replace(
            refunded(replace(REFUND, amount=400), total=400),
            credit_notes=(replace(CREDIT_NOTE, refund_ids=("re_0",)),),
        ),
        {"usd": (2000, 400, 0, 0, 1600)},
    ),
    (
        "E103 L22 yen have no cents",
        replace(FACTS, charges=(replace(CHARGE, currency="jpy", amount=500, amount_captured=500),)),
        {"jpy": (500, 0, 0, 0, 500)},
    ),
    (
        "E104 L23 a guest's charge, found by its session",
        replace(
            FACTS,
            charges=(replace(CHARGE, customer_id=None),),
            sessions=(replace(SESSION, payment_intent_id="pi_1"),),
        ),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
    (
        "E105 L19 gross of transfers",
        replace(FACTS, charges=(replace(CHARGE, amount=10000, amount_captured=10000),)),
        {"usd": (10000, 0, 0, 0, 10000)},
    ),
    (
        "E106 L25 one-off payments count",
        invoiced(
            replace(INVOICE, subscription_id=None, billing_reason="manual", amount_paid_by_payments=2000),
            charges=2,
        ),
        {"usd": (4000, 0, 0, 0, 4000)},
    ),
    (
        "E107 L24 a deleted customer's money stays",
        replace(PAID, deleted_at=day(9)),
        {"usd": (2000, 0, 0, 0, 2000)},
    ),
]


@pytest.mark.parametrize(("facts", "expected"), [pytest.param(*row[1:], id=row[0]) for row in REVENUE_CASES])
def test_revenue(facts: CustomerFacts, expected: dict[str, Row]) -> None:
    """Each case's money, with net as the sum, and in order of currency."""
    rows = revenue_of(facts, customer_uid=UID)
    found = {row.currency: (row.gross, row.refunded, row.disputed, row.out_of_band, row.net) for row in rows}
    assert expected == found
    assert list(expected) == [row.currency for row in rows]
    assert [row.net for row in rows] == [net_of(row) for row in rows]


def test_whose_revenue_it_is() -> None:
    """A row has all keys of the customer, and the same uid as the record."""
    facts = replace(PAID, account_id="acct_1", live_mode=False)
    (row,) = derive(facts).revenue
    expected = Revenue(
        stripe_customer_id="cus_1",
        account_id="acct_1",
        live_mode=False,
        customer_uid=customer_uid("acct_1", False, "cus_1"),
        currency="usd",
        gross=2000,
        refunded=0,
        disputed=0,
        out_of_band=0,
        net=2000,
    )
    assert expected == row


# The dispute's fields, what is left of a charge of 2000, and what the dispute took.
LOSSES: list[tuple[str, dict[str, Any], int, int]] = [
    ("no list, lost", {"movements": None, "status": "lost"}, 2000, 2000),
    ("no list, lost in part", {"movements": None, "status": "lost", "amount": 700}, 2000, 700),
    ("no list, lost: no more than is left", {"movements": None, "status": "lost"}, 1500, 1500),
    (
        "no list, lost in another currency: all that is left",
        {"movements": None, "status": "lost", "currency": "eur", "amount": 1},
        1500,
        1500,
    ),
    ("no list, amount unknown", {"movements": None, "status": "lost", "amount": None}, 1500, 1500),
    ("no list, open", {"movements": None, "status": "needs_response"}, 2000, 0),
    ("no list, won", {"movements": None, "status": "won"}, 2000, 0),
    ("no list, an inquiry closed", {"movements": None, "status": "warning_closed"}, 2000, 0),
    ("no list, prevented", {"movements": None, "status": "prevented"}, 2000, 0),
    ("no list, a new word", {"movements": None, "status": "appeal_under_review"}, 2000, 0),
    ("no movement, lost", {"movements": 0, "status": "lost"}, 2000, 0),
    ("one, in another currency", {"movements": 1, "amount": 700}, 2000, 700),
    ("one, in another currency, nothing left", {"movements": 1}, 0, 0),
    ("one, in another currency, less than nothing left", {"movements": 1}, -500, 0),
    ("one, its amount not said", {"movements": 1, "moved_currency": "usd"}, 2000, 2000),
    ("two, in several currencies, open", {"movements": 2}, 2000, 2000),
    ("two, in several currencies, lost", {"movements": 2, "status": "lost"}, 2000, 2000),
    ("two, in several currencies, won", {"movements": 2, "status": "won"}, 2000, 0),
]


@pytest.mark.parametrize(
    ("changes", "left", "expected"), [pytest.param(*row[1:], id=row[0]) for row in LOSSES]
)
def test_losses_that_must_be_estimated(changes: dict[str, Any], left: int, expected: int) -> None:
    """Where the movements have no sum, the status decides, within what is left."""
    dispute = replace(DISPUTE, **({"moved_amount": None, "moved_currency": None} | changes))
    assert expected == disputed_amount(CHARGE, [dispute], left=left)


# Amounts that moved in pounds for 2000 euros disputed, in order, and how many euros are gone.
MOVES: list[tuple[str, tuple[int | tuple[int, str], ...], int]] = [
    ("nothing", (), 0),
    ("withdrawn", (-1712,), 2000),
    ("withdrawn, and adjusted for the conversion", (-1712, -23), 2000),
    ("withdrawn in three parts", (-1000, -700, -12), 2000),
    ("returned", (-1712, 1712), 0),
    ("returned in two parts", (-1712, 1000, 712), 0),
    ("returned in part", (-1712, 600), 1299),
    ("returned in part and adjusted", (-1712, -23, 600), 1308),
    ("adjusted after a part came back", (-1712, 600, -23), 1326),
    ("returned at a worse rate", (-1712, 1700), 14),
    ("returned at a better rate", (-1712, 1750), 0),
    ("withdrawn again after an appeal", (-1712, 1712, -1712), 2000),
    ("withdrawn again at another rate", (-1712, 1712, -1735), 2000),
    ("returned for good", (-1712, 1712, -1712, 1712), 0),
    ("half of it exactly", (-1712, 856), 1000),
    ("the fee is apart", (-1712, (-15, "fee")), 2000),
    ("the fee stays when the money comes back", (-1712, (-15, "fee"), 1712), 0),
    ("the fee comes back, the money does not", (-1712, (-15, "fee"), (15, "fee")), 2000),
    ("only a fee", ((-15, "fee"),), 0),
    ("a tax on the fee", (-1712, (-3, "tax"), 1712), 0),
    ("a category that nobody knows is money", (-1712, (-23, "other_adjustment")), 2000),
    ("a reversal by its category", (-1712, (1712, "dispute_reversal")), 0),
    ("one unit of the smallest", (-3, 2), 667),
]


def dispute_body(
    moves: tuple[int | tuple[int, str], ...], *, currency: str = "gbp", **fields: object
) -> dict[str, Any]:
    entries = [move if isinstance(move, tuple) else (move, "dispute") for move in moves]
    return {
        "object": "dispute",
        "id": "dp_1",
        "charge": "ch_1",
        "status": "needs_response",
        "amount": 2000,
        "currency": "eur",
        "balance_transactions": [
            {"amount": amount, "currency": currency, "created": number, "reporting_category": category}
            for number, (amount, category) in enumerate(entries)
        ],
    } | fields


def loss_by(body: dict[str, Any], *, left: int = 2000) -> int:
    """What the dispute of this body takes from a charge of 20.00 EUR."""
    facts = parse_object(body).facts
    assert isinstance(facts, Dispute)
    return disputed_amount(replace(CHARGE, currency="eur"), [facts], left=left)


@pytest.mark.parametrize(("moves", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MOVES])
@pytest.mark.parametrize("status", ["needs_response", "won", "lost", "appeal_under_review"])
def test_money_that_moved_in_another_currency(
    moves: tuple[int | tuple[int, str], ...], expected: int, status: str
) -> None:
    """I6: what went out and did not come back decides, by its share; neither the number of entries nor the status."""
    body = dispute_body(moves, status=status)
    assert expected == loss_by(body)
    # Stripe's list is not promised to be in order.
    assert expected == loss_by(body | {"balance_transactions": list(reversed(body["balance_transactions"]))})


@pytest.mark.parametrize(("moves", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MOVES])
def test_money_that_moved_in_the_charges_currency(
    moves: tuple[int | tuple[int, str], ...], expected: int
) -> None:
    """I6: in the charge's own currency the sum of the movements without fees is the loss itself."""
    costs = ("fee", "tax")
    gone = -sum(move if isinstance(move, int) else move[0] * (move[1] not in costs) for move in moves)
    assert gone == loss_by(dispute_body(moves, currency="eur"))
    assert (expected == 0) == (gone <= 0)


def test_a_share_is_of_the_disputed_amount() -> None:
    """Where the dispute is in another currency than the charge, too, the share is of what is left of the charge."""
    half = (-1000, 500)
    assert 350 == loss_by(dispute_body(half, amount=700))
    assert 900 == loss_by(dispute_body(half, amount=700, currency="gbp") | {"currency": "gbp"}, left=1800)
    assert 0 == loss_by(dispute_body(half), left=0)


def test_movements_before_there_were_categories() -> None:
    """Where entries have no category, their type tells fees apart."""
    entries = [
        {"amount": -1712, "currency": "gbp", "type": "adjustment"},
        {"amount": -15, "currency": "gbp", "type": "stripe_fee"},
        {"amount": 1712, "currency": "gbp", "type": "adjustment"},
    ]
    assert 0 == loss_by(dispute_body(()) | {"balance_transactions": entries})


# The charge's captures, and what Stripe's figures give: gross and refunded.
CAPTURES: list[tuple[str, dict[str, Any], tuple[Refund, ...], tuple[int, int] | None]] = [
    ("authorized", {"captured": False, "amount_captured": 0}, (), None),
    ("the first of several captures", {"captured": False, "amount_captured": 700}, (), (700, 0)),
    ("the same, and Stripe says so", {"captured": False, "amount_captured": 700, "multicapture": True}, (), (700, 0)),
    (
        "refunded between captures",
        {"captured": False, "amount_captured": 700, "amount_refunded": 100, "multicapture": True},
        (replace(REFUND, amount=100),),
        (700, 100),
    ),
    ("the last of several captures", {"amount_captured": 900, "multicapture": True}, (), (900, 0)),
    (
        "refunded after the last of several captures",
        {"amount_captured": 900, "amount_refunded": 100, "multicapture": True},
        (replace(REFUND, amount=100),),
        (900, 100),
    ),
    (
        "refunded after the last, the refund not seen yet",
        {"amount_captured": 900, "amount_refunded": 250, "multicapture": True},
        (),
        (900, 250),
    ),
    (
        "all of several captures refunded",
        {"amount_captured": 900, "amount_refunded": 900, "multicapture": True},
        (replace(REFUND, amount=900),),
        (900, 900),
    ),
    (
        "a single capture of a part: the rest is booked as a refund",
        {"amount_captured": 900, "amount_refunded": 100},
        (),
        (900, 0),
    ),
    (
        "and refunded after that",
        {"amount_captured": 900, "amount_refunded": 300},
        (replace(REFUND, id="re_2", amount=100), replace(REFUND, amount=200)),
        (900, 200),
    ),
    ("all of it in several captures", {"amount_captured": 1000, "multicapture": True}, (), (1000, 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "refunds", "expected"), [pytest.param(*row[1:], id=row[0]) for row in CAPTURES]
)
def test_captures(
    changes: dict[str, Any], refunds: tuple[Refund, ...], expected: tuple[int, int] | None
) -> None:
    """I6: money counts when it was captured; a released rest is no refund, and is taken off only if Stripe
    books it as one.
    """
    charge = replace(CHARGE, amount=1000, **changes)
    rows = revenue_of(replace(FACTS, charges=(charge,), refunds=refunds), customer_uid=UID)
    assert expected == (next(((row.gross, row.refunded) for row in rows), None))


def test_several_disputes_of_one_charge() -> None:
    """Movements count first; the estimates share the rest, in whatever order they are read."""
    exact = replace(DISPUTE, moved_amount=-500)
    foreign = replace(DISPUTE, id="dp_2", amount=1200, moved_amount=-900, moved_currency="eur")
    lost = replace(LOST, id="dp_3", amount=900, movements=None, moved_amount=None, moved_currency=None)
    for disputes in itertools.permutations((exact, foreign, lost)):
        assert 2000 == disputed_amount(CHARGE, disputes, left=2000)
    assert 1700 == disputed_amount(CHARGE, (exact, foreign), left=2000)


def test_refunds_and_disputes_stay_with_their_charge() -> None:
    """The rest is computed per charge, and a dispute without a charge of the customer counts nowhere."""
    facts = replace(
        FACTS,
        charges=(CHARGE, replace(CHARGE, id="ch_2", currency="eur")),
        refunds=(replace(REFUND, charge_id="ch_2"), replace(REFUND, id="re_2", charge_id=None)),
        disputes=(replace(DISPUTE, charge_id="ch_0"),),
    )
    rows = {row.currency: (row.refunded, row.disputed) for row in revenue_of(facts, customer_uid=UID)}
    assert {"usd": (0, 0), "eur": (500, 0)} == rows


# The invoice's fields, and how much of it was paid outside Stripe.
OUT_OF_BAND: list[tuple[str, dict[str, Any], int]] = [
    ("nothing said", {}, 0),
    ("said", {"amount_paid_off_stripe": 700}, 700),
    ("said of an open invoice, paid in part", {"amount_paid_off_stripe": 700, "status": "open"}, 700),
    (
        "said to be none, whatever the rest",
        {"amount_paid_off_stripe": 0, "paid_out_of_band": True, "amount_paid_by_payments": 0},
        0,
    ),
    ("marked", {"paid_out_of_band": True, "amount_paid": 0}, 2000),
    ("marked, not yet paid", {"paid_out_of_band": True, "status": "open"}, 0),
    ("marked, nothing due: a balance paid the total", {"paid_out_of_band": True, "amount_due": 0}, 0),
    ("marked, nothing known", {"paid_out_of_band": True, "amount_due": None}, 0),
    ("marked as not", {"paid_out_of_band": False, "amount_paid_by_payments": 0}, 0),
    ("payments tell a difference", {"amount_paid_by_payments": 500}, 1500),
    ("payments brought all", {"amount_paid_by_payments": 2000}, 0),
    ("payments brought more", {"amount_paid_by_payments": 2500}, 0),
    ("no payment, nothing paid", {"amount_paid_by_payments": 0, "amount_paid": 0}, 0),
    ("no payment, amount unknown", {"amount_paid_by_payments": 0, "amount_paid": None}, 0),
    ("the difference of an open invoice", {"amount_paid_by_payments": 0, "status": "open"}, 0),
    ("the difference of a void invoice", {"amount_paid_by_payments": 0, "status": "void"}, 0),
]


@pytest.mark.parametrize(("changes", "expected"), [pytest.param(*row[1:], id=row[0]) for row in OUT_OF_BAND])
def test_out_of_band(changes: dict[str, Any], expected: int) -> None:
    """The best information in the invoice's version."""
    assert expected == out_of_band_amount(replace(INVOICE, **changes))


@pytest.mark.parametrize(
    ("money", "expected"),
    [
        pytest.param({"usd": (2000, 0), "eur": (3000, 0)}, ("eur", 3000), id="the larger"),
        pytest.param({"usd": (2000, 0), "eur": (2000, 0)}, ("eur", 2000), id="alphabetical when equal"),
        pytest.param({"usd": (2000, 0), "eur": (1500, 600)}, ("eur", 2100), id="out of band counts"),
        pytest.param({}, (None, 0), id="none"),
    ],
)
def test_revenue_currency(money: dict[str, tuple[int, int]], expected: tuple[str | None, int]) -> None:
    """The record's currency is the one of the largest gross + out of band."""
    facts = replace(
        FACTS,
        charges=tuple(
            replace(CHARGE, id=f"ch_{currency}", currency=currency, amount=gross, amount_captured=gross)
            for currency, (gross, _) in money.items()
        ),
        invoices=tuple(
            replace(INVOICE, id=f"in_{currency}", currency=currency, amount_paid_off_stripe=off)
            for currency, (_, off) in money.items()
        ),
    )
    derived = derive(facts)
    assert expected == (derived.record.revenue_currency, derived.record.lifetime_revenue)
    assert main_revenue(derived.revenue) == main_revenue(derived.revenue[::-1])


def test_the_currency_is_chosen_before_refunds() -> None:
    """lifetime_revenue is net, and refunds do not change the currency."""
    facts = replace(
        refunded(FULL_REFUND, total=2000),
        charges=(
            replace(CHARGE, amount_refunded=2000),
            replace(CHARGE, id="ch_2", currency="eur", amount=700, amount_captured=700),
        ),
    )
    main = main_revenue(revenue_of(facts, customer_uid=UID))
    assert main is not None
    assert ("usd", 0) == (main.currency, main.net)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"amount_captured": None}, (2000, 500), id="captured amount not said"),
        pytest.param({"amount": None}, (2000, 500), id="amount not said"),
        pytest.param({"amount": None, "amount_captured": None}, (0, 500), id="neither"),
        pytest.param({"amount_refunded": None}, (2000, 500), id="refunded amount not said"),
    ],
)
def test_amounts_that_stripe_leaves_out(changes: dict[str, Any], expected: tuple[int, int]) -> None:
    """A captured charge was captured whole if Stripe says nothing else."""
    charge = replace(CHARGE, **({"amount_refunded": 500} | changes))
    facts = replace(FACTS, charges=(charge,), refunds=(REFUND,))
    (row,) = revenue_of(facts, customer_uid=UID)
    assert expected == (row.gross, row.refunded)


def test_a_charge_without_a_currency_counts_nowhere() -> None:
    """There is no currency to count it in; Stripe always states one."""
    assert () == revenue_of(replace(FACTS, charges=(replace(CHARGE, currency=None),)), customer_uid=UID)
    assert () == revenue_of(replace(FACTS, invoices=(replace(OFF_STRIPE, currency=None),)), customer_uid=UID)
