"""`subledger customer ID`: the whole record, found by any of its names, and why it is exact or not."""

import pytest

from cli.connect import find_one
from db.connection import Pool
from db.keys import CustomerKey
from db.records.customer import select_last_events
from db.sync.pushes import want_push
from tests.cli.command import subledger
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    event,
    item,
    listing,
    open_harness,
    refund,
    subscription,
)
from tests.worker.lists.test_features import summary
from tests.worker.live.test_thin import thin

DAY = 86_400
EVIL_NAME = "Eve \x1b[2J\x9b\u202e[red]x[/red] :smile:"


async def story(harness: Harness) -> None:
    """One customer with a trial, a purchase and an end, who pays in three currencies."""
    bodies = [
        event("price.created", PRICE),
        event("customer.created", ANNA),
        event("customer.subscription.created", subscription(status="trialing", **TRIAL), after=1),
        event("customer.subscription.updated", subscription(**TRIAL), after=7 * DAY),
    ]
    bodies.append(
        event("entitlements.active_entitlement_summary.updated", summary("cus_1", ["feat_1"]), after=2)
    )
    for body in bodies:
        await harness.apply(body)
    for number, (currency, amount) in enumerate({"usd": 123456, "jpy": 5000, "kwd": 1234}.items()):
        paid = charge(f"ch_{number}", currency=currency, amount=amount, amount_captured=amount)
        await harness.apply(event("charge.succeeded", paid, after=8 * DAY, event_id=f"evt_paid_{currency}"))


PRICE: Body = {
    "object": "price",
    "id": "price_1",
    "product": "prod_1",
    "created": NOON,
    "livemode": False,
    "billing_scheme": "per_unit",
    "currency": "usd",
    "unit_amount": 41150,
    "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    "metadata": {},
}
ANNA = customer(name="Anna Berg", email="anna@example.com", metadata={"custom_uid": "anna-1", "plan": "pro"})
TRIAL: Body = {
    "trial_start": NOON,
    "trial_end": NOON + 7 * DAY,
    "items": listing([item("si_1", quantity=3)]),
    "current_period_start": NOON,
    "current_period_end": NOON + 30 * DAY,
}


async def test_all_names_lead_to_the_whole_record(pool: Pool, database_url: str) -> None:
    """custom_uid, Stripe id, uid and email; every column of the record, its products, revenue and history."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await story(harness)
        record = await harness.record()
        columns = set(record.keys())
    documents = [
        (await subledger(database_url, "customer", name, "--json")).json
        for name in ("anna-1", "cus_1", str(record["uid"]), "anna@example.com", " Anna@Example.com ")
    ]
    first = documents[0]
    assert [first] * 5 == documents
    assert columns <= first.keys()
    assert ("Anna Berg", {"custom_uid": "anna-1", "plan": "pro"}, "active", record["change"]) == (
        first["name"],
        first["metadata"],
        first["status"],
        first["change"],
    )
    assert [("sub_1", "prod_1", 3)] == [
        (each["stripe_subscription_id"], each["stripe_product_id"], each["quantity"])
        for each in first["customer_products"]
    ]
    assert {"usd": 123456, "jpy": 5000, "kwd": 1234} == {
        each["currency"]: each["net"] for each in first["revenue"]
    }
    assert {"usd": 123450} == {each["currency"]: each["mrr"] for each in first["mrr"]}
    assert [("feat_1", "1", None)] == [
        (each["feature_id"], each["lookup_key"], each["name"]) for each in first["features"]
    ]
    assert [(None, "trialing"), ("trialing", "active")] == [
        (each["status_before"], each["status_after"]) for each in first["status_changes"]
    ]


async def test_page_shows_money_and_timeline(pool: Pool, database_url: str) -> None:
    """Yen have no cents, dinars have a thousand; the history is in order. What waits for Stripe is named."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await story(harness)
        async with pool.acquire() as connection:
            await want_push(connection, CustomerKey("", False, "cus_1"), {"metadata": {"plan": "pro"}})
    page = await subledger(database_url, "customer", "cus_1")
    assert (0, "") == (page.code, page.err)
    assert ["Set here, and not at Stripe yet: metadata.plan."] == page.lines("Set here")
    assert ["lifetime revenue 1,234.56 USD"] == page.lines("lifetime")
    assert ["monthly (MRR) 1,234.50 USD"] == page.lines("monthly")
    assert ["USD 1,234.56 0.00 0.00 0.00 1,234.56"] == page.lines("USD")
    assert ["JPY 5,000 0 0 0 5,000"] == page.lines("JPY")
    assert ["KWD 1.234 0.000 0.000 0.000 1.234"] == page.lines("KWD")
    history = [line for line in page.lines("20") if " trialing " in line]
    assert [" none trialing no event evt_", " trialing active no event evt_"] == [
        line[len("2026-09-21 14:13:20") :].rstrip("0123456789") for line in history
    ]
    (paid,) = [line for line in page.out.splitlines() if "evt_paid_jpy" in line]
    assert "charge.succeeded" in paid
    assert paid.endswith("applied  charge ch_1")
    (product,) = page.lines("prod_1 ")
    assert product.startswith("prod_1 sub_1 active active yes 3 2026-09-")
    assert "plan=pro" in page.lines("metadata")[0]
    assert ["feat_1 1 -"] == page.lines("feat_1")


def thing(kind: str, object_id: str, **fields: object) -> Body:
    """An object of the customer's as its event shows it, reduced to what it must have."""
    return {
        "object": kind,
        "id": object_id,
        "created": NOON,
        "livemode": False,
        "customer": "cus_1",
        "metadata": {},
    } | fields


async def test_every_object_of_the_customer_shows_its_event(pool: Pool, database_url: str) -> None:
    """Of each kind, the objects that are read and settled, too; and no object of another customer."""
    events = [
        event("customer.created", ANNA),
        event("customer.subscription.created", subscription()),
        event("subscription_schedule.created", thing("subscription_schedule", "sub_sched_1", phases=[])),
        event(
            "checkout.session.completed", thing("checkout.session", "cs_1", status="complete", mode="payment")
        ),
        event("invoice.created", thing("invoice", "in_1", status="open", currency="usd", lines=listing([]))),
        event("credit_note.created", thing("credit_note", "cn_1", invoice="in_1", status="issued")),
        event("invoice_payment.paid", thing("invoice_payment", "inpay_1", invoice="in_1", status="paid")),
        event("charge.succeeded", charge()),
        event("refund.created", refund()),
        event(
            "charge.dispute.created", thing("dispute", "dp_1", charge="ch_1", status="lost", currency="usd")
        ),
        event("customer.created", customer("cus_2")),
        event(
            "subscription_schedule.created",
            thing("subscription_schedule", "sub_sched_2", customer="cus_2", phases=[]),
        ),
        event("charge.succeeded", charge("ch_2", "cus_2")),
    ]
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(*events)
        await harness.execute("update sync.objects set confirmed = nextval('sync.tick')")
        async with harness.pool.acquire() as connection:
            shown = await select_last_events(connection, CustomerKey("", False, "cus_1"), limit=100)
    assert {
        "charge ch_1", "checkout_session cs_1", "credit_note cn_1", "customer cus_1", "dispute dp_1", "invoice in_1",
        "invoice_payment inpay_1", "refund re_1", "subscription sub_1", "subscription_schedule sub_sched_1",
    } == {name for each in shown for name in each.objects}  # fmt: skip


async def test_exact_says_so_and_not_exact_says_why(pool: Pool, database_url: str) -> None:
    """Waiting for a read, missing and parked objects are named with their errors; confirmed, nothing is left to say."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(
            event("customer.created", ANNA),
            event("customer.subscription.created", subscription()),
            event("charge.succeeded", charge()),
        )
        waiting = await subledger(database_url, "customer", "cus_1")
        assert "Not exact:" in waiting.out.splitlines()
        assert {
            f"{each} waits for a read" for each in ("customer cus_1", "subscription sub_1", "charge ch_1")
        } == {line.strip() for line in waiting.out.splitlines() if "waits for a read" in line}

        harness.api.put(ANNA, subscription(), charge())
        await harness.settle()
        settled = await subledger(database_url, "customer", "cus_1")
        assert "Exact: complete, and confirmed by Stripe." in settled.out.splitlines()
        document = (await subledger(database_url, "customer", "cus_1", "--json")).json
        assert (True, [], []) == (
            document["exact"],
            document["unsettled_objects"],
            document["not_exact_because"],
        )

        await harness.receive(event("charge.updated", charge(), after=1))
        del harness.api.bodies["/v1/charges/ch_1"]
        await harness.engine.apply()
        await harness.confirm()
        missing = await subledger(database_url, "customer", "cus_1", "--json")
        assert [("ch_1", "missing")] == [
            (each["id"], each["standing"]) for each in missing.json["unsettled_objects"]
        ]
        (reason,) = missing.json["not_exact_because"]
        assert reason.startswith("charge ch_1 is not found at Stripe since 20")
        harness.api.put({"object": "customer", "id": "cus_2", "deleted": True})
        await harness.apply(
            *(thin(f"customer.{each}", "customer", "cus_2") for each in ("created", "deleted"))
        )
        await harness.confirm()
    untold = await subledger(database_url, "customer", "cus_2", "--json")
    assert ["it was deleted before it was read"] == [
        each.partition(":")[0] for each in untold.json["not_exact_because"]
    ]


async def test_parked_object_is_named_with_its_error(pool: Pool, database_url: str) -> None:
    """An answer that cannot be understood is given up after some tries, and the customer's page says which."""
    async with open_harness(pool, database_url) as harness:
        harness.api.put(ANNA)
        await harness.apply(event("customer.created", ANNA), event("charge.succeeded", charge()))
        for _ in range(5):
            harness.api.say("/v1/charges/ch_1", 200, {"object": "charge", "id": "\x1b"})
            await harness.confirm()
        await harness.engine.derive()
    page = await subledger(database_url, "customer", "cus_1")
    (line,) = [line for line in page.out.splitlines() if "ch_1 is parked" in line]
    assert "charge ch_1 is parked: " in line
    assert "only an object with an id" in line


async def test_incomplete_history_is_a_reason(pool: Pool, database_url: str) -> None:
    """Confirmed is not enough: a customer that existed before us has a history that no event announced."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(event("customer.updated", ANNA))
    reasons = (await subledger(database_url, "customer", "cus_1", "--json")).json["not_exact_because"]
    assert any(each.startswith("its history is not known from the start") for each in reasons)


async def test_several_hits_are_listed(pool: Pool, database_url: str) -> None:
    """One email, three customers: all are shown, and the user chooses."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", customer("cus_1", email="two@example.com", name="Ann \x1b[2J")),
            event("customer.created", customer("cus_2", email="two@example.com")),
            event("customer.created", customer("cus_3", email="two@example.com"), live=True),
            event("customer.created", customer("cus_1", email="else@example.com"), account="acct_1"),
        )
    several = await subledger(database_url, "customer", "two@example.com")
    assert (1, "") == (several.code, several.out)
    assert all(f"  {each}  " in several.err for each in ("cus_1", "cus_2", "cus_3"))
    assert "Ann \\x1b[2J" in several.err
    assert "\x1b" not in several.err
    live = await subledger(database_url, "customer", "two@example.com", "--live", "--json")
    assert "cus_3" == live.json["stripe_customer_id"]
    both = await subledger(database_url, "customer", "cus_1")
    assert (1, True) == (both.code, "--account" in both.err)
    own = await subledger(database_url, "customer", "cus_1", "--account", "", "--json")
    connected = await subledger(database_url, "customer", "cus_1", "--account", "acct_1", "--json")
    assert ["two@example.com", "else@example.com"] == [own.json["email"], connected.json["email"]]


async def test_name_like_another_customers_id(pool: Pool, database_url: str) -> None:
    """I13: a custom_uid may be another customer's Stripe id or uid: what people type means the one with that id."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(event("customer.created", customer("cus_1", email="one@example.com")))
        uid = str((await harness.record())["uid"])
        await harness.apply(
            event("customer.created", customer("cus_2", metadata={"custom_uid": "cus_1"})),
            event("customer.created", customer("cus_3", metadata={"custom_uid": uid})),
            event("customer.created", customer("cus_4", metadata={"custom_uid": "cus_9"})),
        )
        async with harness.pool.acquire() as connection:
            meant = [
                (await find_one(connection, name, account_id=None, live_mode=None)).stripe_customer_id
                for name in ("cus_1", uid, "cus_2", "cus_9")
            ]
    assert ["cus_1", "cus_1", "cus_2", "cus_4"] == meant
    shown = await subledger(database_url, "customer", "cus_1", "--json")
    assert "one@example.com" == shown.json["email"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nobody",
            "no customer nobody: give a custom_uid, a Stripe customer id (cus_...), a uid or an email",
        ),
        ("\x1b[2J", "no customer \\x1b[2J: "),
        ("sub_1", "sub_1 is a subscription: see `subledger customer cus_1`"),
        ("prod_1", "prod_1 is a product, not a customer"),
    ],
)
async def test_unknown_is_told_what_to_give(pool: Pool, database_url: str, name: str, message: str) -> None:
    """Exit code 1 and one message, which leads on if it can."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", ANNA), event("customer.subscription.created", subscription(**TRIAL))
        )
    done = await subledger(database_url, "customer", name)
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith(f"subledger: {message}")
    assert "\x1b" not in done.err


@pytest.mark.parametrize("given", [{}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}])
async def test_names_cannot_command_the_terminal(
    pool: Pool, database_url: str, given: dict[str, str]
) -> None:
    """A customer's name is shown as text and never interpreted: neither by the terminal nor as markup of ours."""
    evil = customer(name=EVIL_NAME, description="two\nlines", metadata={"\x1b]0;t\x07": "\r"})
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(event("customer.created", evil))
    page = await subledger(database_url, "customer", "cus_1", **given)
    document = await subledger(database_url, "customer", "cus_1", "--json", **given)
    for done in (page, document):
        assert 0 == done.code
        for never in ("\x1b[2J", "\x1b]0", "\x9b", "\u202e", "\x07", "\r"):
            assert never not in done.out
    assert EVIL_NAME == document.json["name"]
    shown = await subledger(database_url, "customer", "cus_1")
    assert ["name Eve \\x1b[2J\\x9b\\u202e[red]x[/red] :smile:"] == shown.lines("name")
    assert ["description two\\nlines"] == shown.lines("description")
