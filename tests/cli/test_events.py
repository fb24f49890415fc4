"""`subledger events`: what came, what became of it, and that trying again does what it says."""

import typing
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from stripe import Event as StripeEvent

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from cli.event_types import EVENT_TYPES, is_mirrored_only, is_needed, marked_by
from db.connection import Pool
from db.sync.inbox_admin import FenceEntry, standing
from runtime.bell import LIVE_QUEUE, TOKENS
from tests.cli.command import Done, subledger
from tests.harness import Harness, charge, customer, event, open_harness, refund, subscription

NOT_JSON = b"\x1b[31mno event\xff\x9b"
NOWHERE = "redis://127.0.0.1:1"


async def park_charge(harness: Harness) -> None:
    """Stripe's answers about ch_1 make no sense until its reads are given up; what they are afterwards does."""
    harness.api.put(customer(), charge())
    for _ in range(5):
        harness.api.say("/v1/charges/ch_1", 200, {"object": "martian"})
        await harness.confirm()
    await harness.engine.derive()
    assert (await harness.object("charge", "ch_1"))["parked_at"] is not None


async def digest(harness: Harness) -> str:
    """The id under which the event that is no JSON is kept."""
    name: str = await harness.fetchval("select event_id from sync.events where event_id like 'sha256:%'")
    return name


# list


async def test_list_is_newest_first_and_filtered(pool: Pool, database_url: str) -> None:
    """By state and by type, whole or by its beginning."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        for body in (
            event("customer.created", customer(), event_id="evt_1"),
            event("topup.succeeded", {"object": "topup", "id": "tu_1"}, event_id="evt_2"),
            event("customer.subscription.created", subscription(), event_id="evt_3"),
        ):
            await harness.apply(body)
        await harness.receive(event("customer.updated", customer(), event_id="evt_4"))

    async def listed(*arguments: str) -> Sequence[str]:
        listing = (await subledger(database_url, "events", "list", "--json", *arguments)).json
        assert ([], []) == (listing["objects"], listing["customers"])
        return [each["event_id"] for each in listing["events"]]

    assert ["evt_4", "evt_3", "evt_2", "evt_1"] == await listed()
    assert ["evt_4", "evt_3"] == await listed("--limit", "2")
    assert ["evt_3", "evt_1"] == await listed("--state", "applied")
    assert ["evt_2"] == await listed("--state", "ignored")
    assert ["evt_4"] == await listed("--state", "pending", "--type", "customer.updated")
    assert ["evt_4", "evt_3", "evt_1"] == await listed("--type", "customer.*")
    assert [] == await listed("--type", "customer.%")
    page = await subledger(database_url, "events", "list", "--type", "customer.created")
    (line,) = page.lines("evt_")
    assert line.startswith("evt_1 20")
    assert line.endswith(" customer.created applied test")


async def test_parked_list_names_objects_and_customers_too(pool: Pool, database_url: str) -> None:
    """All that was given up, each with its error, and how it is tried again."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(
            event("customer.created", customer()), event("charge.succeeded", charge()), NOT_JSON
        )
        await park_charge(harness)
        await harness.execute(
            "update sync.customers set parked_at = now(), error = E'a bad \\x1b[2J record' where customer_id = 'cus_1'"
        )
        name = await digest(harness)
    page = await subledger(database_url, "events", "list", "--state", "parked")
    for beginning, words in (
        (name, " parked test no data.object: "),
        ("ch_1", " charge cus_1 test NotUnderstood"),
        ("cus_1", " test a bad \\x1b[2J record"),
    ):
        (line,) = page.lines(beginning)
        assert words in line
    assert "subledger events replay" in page.out.splitlines()[-1]
    assert "\x1b" not in page.out
    listing = (await subledger(database_url, "events", "list", "--state", "parked", "--json")).json
    assert (1, ["ch_1"], ["cus_1"]) == (
        len(listing["events"]),
        [each["id"] for each in listing["objects"]],
        [each["customer_id"] for each in listing["customers"]],
    )


# show


async def test_show_tells_marks_and_payload(pool: Pool, database_url: str) -> None:
    """The event, the objects that it marks with their state, and its payload as it came."""
    paid = event("refund.created", refund(), event_id="evt_1", odd="ü\u202e\x9b\ud800")
    async with open_harness(pool, database_url) as harness:
        harness.api.put(charge())
        await harness.apply(paid, event("charge.succeeded", charge()))
        await harness.confirm()
    document = (await subledger(database_url, "events", "show", "evt_1", "--json")).json
    assert ("evt_1", "refund.created", "applied", "ü\u202e\x9b\ud800", refund()) == (
        document["event_id"],
        document["type"],
        document["state"],
        document["payload"]["odd"],
        document["payload"]["data"]["object"],
    )
    assert {("refund", "re_1", "waits for a read"), ("charge", "ch_1", "confirmed")} == {
        (each["kind"], each["id"], each["standing"]) for each in document["concerns"]
    }
    page = await subledger(database_url, "events", "show", "evt_1")
    assert ["type refund.created"] == page.lines("type")
    assert ["charge ch_1 confirmed -"] == page.lines("charge")
    assert '  "odd": "ü\\u202e\\u009b\\ud800"' in page.out.splitlines()


@pytest.mark.parametrize(
    ("kind", "expected"), [("charge", "confirmed"), ("payment_intent", "kept up by lists")]
)
def test_what_no_event_has_read_is_not_called_confirmed(kind: str, expected: str) -> None:
    """Nothing waits for it, and no read has confirmed what its event showed."""
    entry = FenceEntry(
        account_id="",
        live_mode=False,
        kind=kind,
        id="x_1",
        customer_id=None,
        tombstone=False,
        unsettled=False,
        read_at=None,
        attempts=0,
        missing_since=None,
        parked_at=None,
        error=None,
    )
    assert expected == standing(entry)


async def test_show_of_bytes_that_are_no_json(pool: Pool, database_url: str) -> None:
    """They are shown as escapes, and handed out whole in base64."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(NOT_JSON, b"[" * 100_000)
        names = await harness.fetch("select event_id from sync.events order by octet_length(payload)")
    page = await subledger(database_url, "events", "show", names[0][0])
    assert "\\x1b[31mno event\\xff\\x9b" == page.out.splitlines()[-1]
    assert ["state parked"] == page.lines("state")
    document = (await subledger(database_url, "events", "show", names[0][0], "--json")).json
    assert (None, "G1szMW1ubyBldmVudP+b") == (document["payload"], document["payload_base64"])
    deep = await subledger(database_url, "events", "show", names[1][0])
    assert (0, "") == (deep.code, deep.err)


async def test_show_of_an_unknown_event(database_url: str) -> None:
    """Exit code 1, and where to look."""
    done = await subledger(database_url, "events", "show", "evt_no")
    message = "subledger: no event evt_no was received: `subledger events list` shows the last ones\n"
    assert Done(code=1, out="", err=message) == done


# replay


async def test_replayed_event_is_applied_anew_without_another_effect(
    pool: Pool, database_url: str, redis_url: str
) -> None:
    """I2: pending again as if it had just come, the workers are woken, and the record stays as it was."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", customer(), event_id="evt_1"),
            event("charge.succeeded", charge(), event_id="evt_2"),
        )
        before = dict(await harness.record())
        done = await subledger(database_url, "events", "replay", "evt_2", "evt_2", REDIS_URL=redis_url)
        assert Done(code=0, out="1 event pending again.\n", err="") == done
        (row,) = await harness.fetch("select * from sync.events where event_id = 'evt_2'")
        assert ("pending", 0, None, None, None) == (
            row["state"],
            row["attempts"],
            row["leased_until"],
            row["applied_at"],
            row["error"],
        )
        async with Redis.from_url(redis_url) as client:
            assert 1 == await client.llen(TOKENS)
            assert [b"drain"] == await client.zrange(LIVE_QUEUE, 0, -1)
        again = await subledger(database_url, "events", "replay", "evt_2", REDIS_URL=redis_url)
        assert (1, "Nothing was replayed.\n", "subledger: evt_2 is pending already\n") == (
            again.code,
            again.out,
            again.err,
        )
        assert 1 == await harness.engine.apply()
        assert before == dict(await harness.record())
        assert {"evt_1": "applied", "evt_2": "applied"} == await harness.event_states()


async def test_replayed_event_frees_its_parked_objects(pool: Pool, database_url: str) -> None:
    """A mark alone calls for no read of a parked object; replaying its event does, and the record becomes exact."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(
            event("customer.created", customer()), event("charge.succeeded", charge(), event_id="evt_charge")
        )
        await park_charge(harness)
        done = await subledger(database_url, "events", "replay", "evt_charge", REDIS_URL=NOWHERE)
        assert (0, "") == (done.code, done.err)
        assert (
            "1 event pending again, 1 object to be read again. Redis was not reached: the workers find it by their "
            "sweep.\n"
        ) == done.out
        fence = await harness.object("charge", "ch_1")
        assert (None, None, 0, True) == (
            fence["parked_at"],
            fence["error"],
            fence["attempts"],
            fence["dirty"] > fence["confirmed"],
        )
        assert fence["read_at"] is not None
        await harness.settle()
        assert (await harness.record())["exact"]


async def test_objects_and_customers_are_replayed_by_id(pool: Pool, database_url: str) -> None:
    """A parked object is read again, a parked customer is derived again; an unknown id is reported."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(
            event("customer.created", customer()), event("charge.succeeded", charge(), event_id="evt_1")
        )
        await park_charge(harness)
        await harness.execute("update sync.customers set parked_at = now(), attempts = 3, error = 'boom'")
        done = await subledger(database_url, "events", "replay", "ch_1", "cus_1", "evt_no\x1b")
        assert (
            1,
            "subledger: evt_no\\x1b is the id of no known event, object or customer\n",
        ) == (
            done.code,
            done.err,
        )
        assert done.out.startswith("1 object to be read again, 1 customer to be derived again.")
        assert {"applied"} == set((await harness.event_states()).values()), "events stay as they are"
        await harness.settle()
        assert (await harness.record())["exact"]
        settled = await subledger(database_url, "events", "replay", "ch_1")
    assert (1, "Nothing was replayed.\n") == (settled.code, settled.out)
    assert "ch_1 is neither parked, missing nor waiting for a read" in settled.err


async def test_all_that_is_parked_is_replayed_by_state(pool: Pool, database_url: str) -> None:
    """Events, objects and customers; with --type, the events of that type and nothing else."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
        await park_charge(harness)
        # More than one batch of events that are given up, and no two alike.
        nothing = [event("charge.failed", {}, event_id=f"evt_bad_{n}", data=n) for n in range(250)]
        await harness.apply(*nothing, event("charge.updated", {}, event_id="evt_other", data=None))
        assert 251 == list((await harness.event_states()).values()).count("parked")
        await harness.execute("update sync.customers set parked_at = now(), error = 'boom'")

        typed = await subledger(
            database_url, "events", "replay", "--state", "parked", "--type", "charge.upd*"
        )
        assert typed.out.startswith("1 event pending again.")
        assert "pending" == (await harness.event_states())["evt_other"]
        assert (await harness.object("charge", "ch_1"))["parked_at"] is not None

        everything = await subledger(database_url, "events", "replay", "--state", "parked")
        assert everything.out.startswith(
            "250 events pending again, 1 object to be read again, 1 customer to be derived again."
        )
        left = "select count(*) from sync.customers where parked_at is not null"
        assert (None, 0) == (
            (await harness.object("charge", "ch_1"))["parked_at"],
            await harness.fetchval(left),
        )
        # What is wrong with an event is not mended by trying again: it is parked once more, in plain sight.
        await harness.engine.apply()
        assert 251 == list((await harness.event_states()).values()).count("parked")


async def test_quarantined_events_can_be_replayed(pool: Pool, database_url: str) -> None:
    """Once the database serves their mode, they are applied."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(event("customer.created", customer(), event_id="evt_live", live=True))
        assert {"evt_live": "quarantined"} == await harness.event_states()
        done = await subledger(database_url, "events", "replay", "--state", "quarantined")
        assert done.out.startswith("1 event pending again.")
        await harness.execute("delete from sync.key")
    async with open_harness(pool, database_url, api_key="sk_live_room") as harness:
        await harness.engine.apply()
        assert {"evt_live": "applied"} == await harness.event_states()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either ids, or --state"),
        (["evt_1", "--state", "parked"], "give either ids, or --state"),
        (["evt_1", "--type", "charge.*"], "--type goes with --state"),
        (["--state", "applied"], "replayed by id only"),
        (["--state", "lost"], "'lost' is not one of"),
    ],
)
async def test_wrong_arguments_exit_2(database_url: str, arguments: list[str], message: str) -> None:
    """Nothing is replayed by mistake."""
    done = await subledger(database_url, "events", "replay", *arguments)
    assert (2, "") == (done.code, done.out)
    assert message in " ".join(done.err.split())


# types


NOT_ACTED_ON = {
    "invoice.upcoming": "an invoice that does not exist yet",
    "customer.source.*": "what came before payment methods is not mirrored",
    "billing.alert.*": "alerts are not mirrored",
    "billing.credit_*": "billing credits are not mirrored",
}
"""Types of Stripe that begin like ours, and why they mark nothing."""


def test_every_type_of_our_families_is_known() -> None:
    """When Stripe adds a type about an object that we look at, this says so."""
    known = set(typing.get_args(StripeEvent.__annotations__["type"]))
    families = tuple({name.partition(".")[0] + "." for name in EVENT_TYPES} - {"checkout."})
    excepted = {
        name
        for name in known
        for pattern in NOT_ACTED_ON
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
    }
    ours = {name for name in known if name.startswith((*families, "checkout.session."))}
    assert len(known) > 200
    assert set(EVENT_TYPES) == ours - excepted


def test_types_mark_what_the_registry_says() -> None:
    """Each kind is marked by a type that carries it, and useful types are apart from needed ones."""
    assert ("invoice_payment", "invoice") == marked_by("invoice_payment.paid")
    assert ("refund", "charge") == marked_by("charge.refund.updated")
    assert ("invoice",) == marked_by("invoice.deleted"), "a deletion is about the invoice alone"
    assert ("customer", "subscription") == marked_by("customer.discount.created")
    assert ("subscription",) == marked_by("v1.customer.subscription.updated")
    assert ("subscription",) == marked_by("v1.customer.subscription.item_price_changed"), "a finer type"
    assert ("customer", "subscription") == marked_by("v1.customer.discount.created")
    assert (
        () == marked_by("topup.succeeded") == marked_by("invoice.upcoming") == marked_by("v1.topup.succeeded")
    )
    needed = {marked_by(name)[0] for name in EVENT_TYPES if is_needed(name)}
    mirrored = {marked_by(name)[0] for name in EVENT_TYPES if is_mirrored_only(name)}
    # Features and balance transactions have no events at all.
    assert set(KINDS) - LIST_CONFIRMED - {"feature"} == needed
    assert LIST_CONFIRMED - {"balance_transaction"} == mirrored
    assert ("payment_intent", "charge") == marked_by("payment_intent.succeeded")
    assert ("credit_note", "invoice", "refund") == marked_by("credit_note.created")
    hint = "customer.discount.created"
    assert (False, False) == (is_needed(hint), is_mirrored_only(hint))


async def test_types_count_what_was_received(pool: Pool, database_url: str) -> None:
    """By type and state, and what the endpoint could do without."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", customer()),
            event("customer.created", customer("cus_2")),
            event("topup.succeeded", {"object": "topup", "id": "tu_1"}),
        )
        await harness.receive(event("customer.created", customer("cus_3")))
    page = await subledger(database_url, "events", "types")
    assert ["customer.created customer 1 pending, 2 applied"] == page.lines("customer.created")
    assert ["topup.succeeded - 1 ignored"] == page.lines("topup.succeeded")
    types = (await subledger(database_url, "events", "types", "--json")).json
    (created,) = [each for each in types["types"] if each["type"] == "customer.created"]
    assert {
        "type": "customer.created",
        "marks": ["customer"],
        "needed": True,
        "received": {"pending": 1, "applied": 2},
    } == created
    assert [{"type": "topup.succeeded", "marks": [], "received": {"ignored": 1}}] == types["others"]
