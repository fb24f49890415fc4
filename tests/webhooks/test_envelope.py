"""Whatever was signed is kept: reading an envelope is total, and what it gives is what Postgres takes."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.kinds.found import is_id
from db.sync.inbox import SignedEvent, record_events
from runtime.envelope import read_envelope


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def read(body: bytes, *, live_mode_default: bool = False) -> SignedEvent:
    return read_envelope(body, live_mode_default=live_mode_default)


def test_envelope_of_a_connected_account() -> None:
    """Every field of the envelope is kept, together with the bytes."""
    body = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "account": "acct_1",
            "api_version": "2024-06-20",
            "created": 1_700_000_000,
            "livemode": True,
            "type": "invoice.paid",
            "data": {"object": {"id": "in_1", "livemode": False, "type": "other"}},
        }
    ).encode()
    assert SignedEvent(
        account_id="acct_1",
        live_mode=True,
        event_id="evt_1",
        type="invoice.paid",
        api_version="2024-06-20",
        created=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        payload=body,
    ) == read(body)


def test_envelope_of_a_thin_event() -> None:
    """A v2 event has its time in ISO 8601 and no data."""
    body = (
        b'{"id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", '
        b'"livemode": false, "created": "2026-02-01T01:02:03.500+01:00"}'
    )
    event = read(body)
    assert ("evt_test_1", "", None) == (event.event_id, event.account_id, event.api_version)
    assert datetime(2026, 2, 1, 0, 2, 3, 500_000, tzinfo=UTC) == event.created


# Each row: an odd envelope, and what differs from (id evt_1, type t.y, account '', no version, no time, test mode).
PLAIN = '"type": "t.y", "livemode": false'
ODD = {
    "no id": (f"{{{PLAIN}}}", {"event_id": None}),
    "null id": (f'{{"id": null, {PLAIN}}}', {"event_id": None}),
    "id a number": (f'{{"id": 7, {PLAIN}}}', {"event_id": None}),
    "id an object": (f'{{"id": {{"id": "evt_1"}}, {PLAIN}}}', {"event_id": None}),
    "empty id": (f'{{"id": "", {PLAIN}}}', {"event_id": None}),
    "endless id": (f'{{"id": "{"e" * 256}", {PLAIN}}}', {"event_id": None}),
    "NUL in id": (f'{{"id": "evt\\u0000", {PLAIN}}}', {"event_id": None}),
    "surrogate in id": (f'{{"id": "evt\\ud83d", {PLAIN}}}', {"event_id": None}),
    "longest id": (f'{{"id": "{"e" * 255}", {PLAIN}}}', {"event_id": "e" * 255}),
    "pair of surrogates in id": (f'{{"id": "evt\\ud83d\\ude00", {PLAIN}}}', {"event_id": "evt😀"}),
    "no type": ('{"id": "evt_1", "livemode": false}', {"type": ""}),
    "type a list": ('{"id": "evt_1", "livemode": false, "type": ["t.y"]}', {"type": ""}),
    "NUL in type": ('{"id": "evt_1", "livemode": false, "type": "t\\u0000y"}', {"type": ""}),
    "endless type": (f'{{"id": "evt_1", "livemode": false, "type": "{"t" * 5000}"}}', {"type": ""}),
    "endless version": (f'{{"id": "evt_1", {PLAIN}, "api_version": "{"2" * 100_000}"}}', {}),
    "version a number": (f'{{"id": "evt_1", {PLAIN}, "api_version": 2026}}', {}),
    "surrogate in version": (f'{{"id": "evt_1", {PLAIN}, "api_version": "\\udc00"}}', {}),
    "account null": (f'{{"id": "evt_1", {PLAIN}, "account": null}}', {}),
    "account an object": (f'{{"id": "evt_1", {PLAIN}, "account": {{"id": "acct_1"}}}}', {}),
    "account no id": (f'{{"id": "evt_1", {PLAIN}, "account": "{"漢" * 300}"}}', {}),
    "context an account": (f'{{"id": "evt_1", {PLAIN}, "context": "acct_1"}}', {"account_id": "acct_1"}),
    "context a path": (f'{{"id": "evt_1", {PLAIN}, "context": "acct_0/acct_1"}}', {"account_id": "acct_1"}),
    "context of an organization": (
        f'{{"id": "evt_1", {PLAIN}, "context": "org_1/acct_1"}}',
        {"account_id": "acct_1"},
    ),
    "context names no account": (f'{{"id": "evt_1", {PLAIN}, "context": "org_1"}}', {}),
    "context ends in nothing": (f'{{"id": "evt_1", {PLAIN}, "context": "acct_1/"}}', {}),
    "context beside account": (
        f'{{"id": "evt_1", {PLAIN}, "account": "acct_1", "context": "acct_2"}}',
        {"account_id": "acct_1"},
    ),
    "context an object": (f'{{"id": "evt_1", {PLAIN}, "context": {{"id": "acct_1"}}}}', {}),
    "account a path": (f'{{"id": "evt_1", {PLAIN}, "account": "acct_1/../x"}}', {}),
    "odd field beside good ones": (
        f'{{"id": "evt_1", {PLAIN}, "account": "acct_1", "api_version": 1, "created": 0}}',
        {"account_id": "acct_1", "created": datetime(1970, 1, 1, tzinfo=UTC)},
    ),
    "mode a text": ('{"id": "evt_1", "type": "t.y", "livemode": "true"}', {}),
    "created a fraction": (f'{{"id": "evt_1", {PLAIN}, "created": 1.5}}', {}),
    "created a boolean": (f'{{"id": "evt_1", {PLAIN}, "created": true}}', {}),
    "created in no calendar": (f'{{"id": "evt_1", {PLAIN}, "created": 99999999999999}}', {}),
    "created out of all bounds": (f'{{"id": "evt_1", {PLAIN}, "created": {"9" * 400}}}', {}),
    "created before year 1 in UTC": (
        f'{{"id": "evt_1", {PLAIN}, "created": "0001-01-01T00:00:00+14:00"}}',
        {},
    ),
    "created a word": (f'{{"id": "evt_1", {PLAIN}, "created": "yesterday"}}', {}),
    "created without a zone": (
        f'{{"id": "evt_1", {PLAIN}, "created": "2026-01-01T00:00:00"}}',
        {"created": datetime(2026, 1, 1, tzinfo=UTC)},
    ),
    "said twice: the last counts": (f'{{"id": "evt_0", "id": "evt_1", {PLAIN}}}', {}),
    "deep data": (
        f'{{"id": "evt_1", {PLAIN}, "data": {"[" * 50_000}{"]" * 50_000}}}',
        {"event_id": None, "type": ""},
    ),
    "a list": ("[]", {"event_id": None, "type": ""}),
    "a text": ('"evt_1"', {"event_id": None, "type": ""}),
    "cut off": ('{"id": "evt_1", "type"', {"event_id": None, "type": ""}),
    "deep list": ("[" * 100_000, {"event_id": None, "type": ""}),
    "nothing": ("", {"event_id": None, "type": ""}),
    "NUL bytes": ("\0\0{\0", {"event_id": None, "type": ""}),
    "byte order mark": (f'\ufeff{{"id": "evt_1", {PLAIN}}}', {}),
}


@pytest.mark.parametrize(("text", "differs"), ODD.values(), ids=ODD.keys())
def test_odd_envelopes(text: str, differs: dict[str, object]) -> None:
    """As much of an odd envelope is read as makes sense; one without a usable id is known by its digest."""
    body = text.encode()
    fields: dict[str, object] = {
        "account_id": "",
        "live_mode": False,
        "event_id": "evt_1",
        "type": "t.y",
        "api_version": None,
        "created": None,
    } | differs
    if fields["event_id"] is None:
        fields["event_id"] = digest(body)
    event = read(body)
    assert fields == {name: getattr(event, name) for name in fields}
    assert body == event.payload


@pytest.mark.parametrize("live_mode", [False, True])
def test_mode_that_is_not_told_is_that_of_the_key(live_mode: bool) -> None:
    """An event that does not say its mode is taken for one of the mode that is served."""
    body = b'{"id": "evt_1", "type": "t.y"}'
    assert live_mode == read(body, live_mode_default=live_mode).live_mode


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
times = st.datetimes(timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)).map(
    datetime.isoformat
)
long_texts = st.text(st.characters(exclude_categories=[]), min_size=200, max_size=400)
odd_envelopes = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values | long_texts | st.just("evt_1"),
        "type": json_values | long_texts | st.just("customer.updated"),
        "account": json_values | long_texts | st.just("acct_1"),
        "api_version": json_values | long_texts,
        "livemode": json_values | st.booleans(),
        "created": json_values | times | st.integers(-(2**63), 2**63),
        "data": json_values,
    },
)
bodies = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | (json_values | odd_envelopes).map(lambda value: json.dumps(value).encode())
)


@given(body=bodies, live_mode_default=st.booleans())
def test_reading_is_total(body: bytes, live_mode_default: bool) -> None:
    """No bytes make it fail, the bytes are kept as they came, and every event has an id."""
    event = read(body, live_mode_default=live_mode_default)
    assert body == event.payload
    assert is_id(event.event_id)
    assert event == read(body, live_mode_default=live_mode_default), "a redelivery would be another event"


def test_postgres_takes_whatever_was_read(database_url: str) -> None:
    """No envelope can be refused by the inbox forever: what Stripe signed would be sent again for days."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))

        @settings(max_examples=200, deadline=None)
        @given(body=bodies)
        def store(body: bytes) -> None:
            event = read(body)
            runner.run(record_events(connection, [event]))
            payload = runner.run(
                connection.fetchval(
                    "select payload from sync.events where (account_id, live_mode, event_id) = ($1, $2, $3)",
                    event.account_id,
                    event.live_mode,
                    event.event_id,
                )
            )
            assert payload is not None

        try:
            store()
        finally:
            runner.run(connection.close())
