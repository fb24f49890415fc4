"""The table of steps: in which order each kind of scan does what, and what follows if a step is given up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.kinds.found import ObjectRef
from billing.kinds.lists import listed_kinds
from db.sync.scans import Scan
from worker.lists.steps import BEGINNING, Place, Step, bounds_of, next_step, step_after_failure, step_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def scan(step: str = "begin", **given: Any) -> Scan:
    """A running backfill of everything, in test mode unless the test says otherwise."""
    fields: dict[str, Any] = dict.fromkeys(Scan.__dataclass_fields__) | {
        "id": 1,
        "purpose": "backfill",
        "account_id": "",
        "live_mode": False,
        "kinds": listed_kinds(),
        "whole": True,
        "repair": False,
        "status": "running",
        "requested_at": NOW,
        "step_cursor": "",
        "attempts": 1,
    }
    return Scan(**(fields | given | {"step": step}))


def order(**given: Any) -> list[str]:
    """Every step that such a scan goes through."""
    steps: list[str] = ["begin"]
    while (step := next_step(scan(steps[-1], **given))) is not None:
        steps.append(step)
    return steps


COMPARE = ["reads", "records", "second look"]
REPAIR = ["repair", "repair charges", "repair parts", "repair records"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {},
            ["begin", "lists", "entitlements", "references", "clocks", "customers", "clock histories"],
        ),
        ({"live_mode": True}, ["begin", "lists", "entitlements", "references", "customers"]),
        ({"whole": False, "kinds": ("invoice",)}, ["begin", "lists"]),
        ({"whole": False, "kinds": ("feature",)}, ["begin", "lists", "entitlements", "done"]),
        ({"whole": False, "customer_id": "cus_1"}, ["begin", "customer"]),
        ({"purpose": "audit"}, ["begin", "lists", "clocks", "entitlements", *COMPARE, "done"]),
        ({"purpose": "audit", "live_mode": True}, ["begin", "lists", "entitlements", *COMPARE, "done"]),
        (
            {"purpose": "audit", "live_mode": True, "repair": True},
            ["begin", "lists", "entitlements", *COMPARE, *REPAIR, "done"],
        ),
        ({"purpose": "audit", "whole": False}, ["begin", "lists", *COMPARE, "done"]),
        (
            {"purpose": "audit", "whole": False, "repair": True},
            ["begin", "lists", *COMPARE, *REPAIR, "done"],
        ),
    ],
)
def test_order(given: dict[str, Any], expected: list[str]) -> None:
    """Each kind of scan has one order; live mode has no test clocks."""
    assert expected == order(**given)


@pytest.mark.parametrize(
    ("step", "given", "expected"),
    [
        ("begin", {}, None),
        ("lists", {}, None),
        ("entitlements", {}, "references"),
        ("references", {}, "clocks"),
        ("references", {"live_mode": True}, "customers"),
        ("clocks", {}, "customers"),
        ("customers", {}, None),
        ("clock histories", {}, None),
        ("references", {"status": "canceled"}, None),
        ("entitlements", {"whole": False, "kinds": ("feature",)}, None),
        ("entitlements", {"purpose": "audit"}, None),
        ("clocks", {"purpose": "audit"}, None),
    ],
)
def test_given_up(step: str, given: dict[str, Any], expected: str | None) -> None:
    """A backfill of everything goes on without what it could not read; any other scan ends."""
    assert expected == step_after_failure(scan(step, **given))


@pytest.mark.parametrize(
    ("step", "given", "expected"),
    [
        ("begin", {}, None),
        ("lists", {}, "customers"),
        ("clocks", {}, "customers"),
        ("customers", {}, "customers"),
        ("clock histories", {}, "clock histories"),
        ("lists", {"whole": False, "kinds": ("invoice",)}, None),
        ("customer", {"whole": False, "customer_id": "cus_1"}, "customer"),
        ("reads", {"purpose": "audit"}, None),
    ],
)
def test_canceled(step: str, given: dict[str, Any], expected: str | None) -> None:
    """What was stored is derived, and nothing else is done any more."""
    assert expected == step_of(scan(step, status="canceled", **given))


def test_every_step_has_its_place() -> None:
    """No step is left out of every order."""
    orders = (
        {"repair": repair, "purpose": purpose, "customer_id": customer}
        for repair in (False, True)
        for purpose in ("backfill", "audit")
        for customer in (None, "cus_1")
    )
    assert {*Step} == {step for given in orders for step in order(**given)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (BEGINNING, NOW + SECOND)),
        ({"since": NOW - HOUR}, (NOW - HOUR, NOW + SECOND)),
        ({"until": NOW - HOUR}, (BEGINNING, NOW - HOUR)),
        ({"until": NOW + HOUR}, (BEGINNING, NOW + SECOND)),
    ],
)
def test_bounds(given: dict[str, Any], expected: tuple[datetime, datetime]) -> None:
    """What was created in the second of the horizon is covered, and nothing after it: that is what events tell."""
    assert expected == bounds_of(scan(**given), NOW + SECOND / 2)


@pytest.mark.parametrize(
    ("place", "cursor"),
    [
        (Place(), "0"),
        (Place(3), "3"),
        (Place(2, ObjectRef("invoice", "in_1")), "2 invoice in_1"),
        (Place(1, ObjectRef("record", "cus with blanks")), "1 record cus with blanks"),
    ],
)
def test_place_as_cursor(place: Place, cursor: str) -> None:
    """A place is stored as a step's cursor, and read back."""
    assert cursor == place.cursor
    assert place == Place.of(scan("reads", step_cursor=cursor))


def test_place_of_a_step_that_begins() -> None:
    """A step that begins has an empty cursor."""
    assert Place(0, ObjectRef("", "")) == Place.of(scan("reads"))
