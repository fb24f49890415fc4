"""Grants: where they are given, how their end is written, and what they give."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.facts import CustomerFacts
from billing.grants import read_end
from tests.billing.examples import CUSTOMER, FACTS, IDENTITY, SUBSCRIPTION, day, derive, facts_with

END = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("1790000000", END),
        ("2026-09-21T14:13:20Z", END),
        ("2026-09-21T14:13:20+00:00", END),
        ("2026-09-21T16:13:20+02:00", END),
        ("2026-09-21 14:13:20", END),
        ("20260921T141320Z", END),
        ("2026-09-21", datetime(2026, 9, 21, tzinfo=UTC)),
        ("20260921", datetime(2026, 9, 21, tzinfo=UTC)),
        ("900000000", datetime(1998, 7, 9, 16, 0, tzinfo=UTC)),
        ("1790000000000", None),  # milliseconds: nobody means the year 58,692
        ("1790010140000", None),  # milliseconds too, which Python takes for the year 1790
        ("20260921141320", None),
        ("17900000", None),
        ("-1790000000", None),
        ("1790000000.5", None),
        ("١٧٩٠٠٠٠٠٠٠", None),
        ("next week", None),
        ("2026-13-01", None),
        ("9999-12-31T23:59:59-01:00", None),  # no such moment in UTC
        ("0001-01-01T00:00:00+01:00", None),
        (" ", None),
    ],
)
def test_ends_as_people_write_them(said: str, end: datetime | None) -> None:
    """Unix seconds or ISO 8601; anything else is no time."""
    assert end == read_end(said)


def given(
    *, here: tuple[float, str | None] | None = None, customer: dict[str, str], **subscriptions: dict[str, str]
) -> CustomerFacts:
    """A customer with grants in these places; each subscription has ended, and is named for the day of its start."""
    facts = facts_with(
        *(
            replace(
                SUBSCRIPTION,
                id=name,
                status="canceled",
                start_date=day(int(name.removeprefix("day_"))),
                ended_at=day(20),
                metadata=metadata,
            )
            for name, metadata in subscriptions.items()
        )
    )
    identity = None
    if here is not None:
        identity = replace(IDENTITY, sandbox_end=day(here[0]), sandbox_product_id=here[1])
    return replace(facts, customer=replace(CUSTOMER, metadata=customer), identity=identity)


def until(number: float, product: str | None = None) -> dict[str, str]:
    """Metadata that grants access until a day."""
    end = {"sandbox_end": day(number).isoformat()}
    return end if product is None else end | {"sandbox_product_id": product}


@pytest.mark.parametrize(
    ("facts", "end", "product_id"),
    [
        pytest.param(given(customer=until(40, "pro")), 40, "pro", id="the customer's"),
        pytest.param(given(customer={}, day_1=until(41, "pro")), 41, "pro", id="a subscription's"),
        pytest.param(
            given(customer=until(40, "b"), day_1=until(50, "c")), 40, "b", id="the customer's first"
        ),
        pytest.param(
            given(here=(39, "a"), customer=until(40, "b"), day_1=until(50, "c")),
            39,
            "a",
            id="ours before all",
        ),
        pytest.param(
            given(customer={}, day_2=until(60, "late"), day_1=until(70, "early")), 60, "late", id="began last"
        ),
        pytest.param(
            given(customer={}, day_2={}, day_1=until(70, "early")), 70, "early", id="the last that states one"
        ),
        pytest.param(given(here=(39, None), customer=until(40, "b")), 39, None, id="no product of another"),
        pytest.param(
            given(customer={"sandbox_end": "soon"}, day_1=until(41, "pro")),
            41,
            "pro",
            id="past a rubbish one",
        ),
    ],
)
def test_c62_where_a_grant_is_given(facts: CustomerFacts, end: float, product_id: str | None) -> None:
    """End and product come from the first place with a readable end: our own, the customer, the last subscription."""
    derived = derive(facts, as_of=day(30))
    record = derived.record
    assert (day(end), True, day(end)) == (record.sandbox_end, record.has_access, derived.rederive_at)
    assert product_id == record.product_id


def test_rubbish_is_reported_and_grants_nothing() -> None:
    """Each unreadable end is a problem of its own, even where another place states a readable one."""
    facts = given(customer={"sandbox_end": "soon"}, day_1={"sandbox_end": "1790000000000"})
    derived = derive(facts, as_of=day(30))
    assert (None, False, None) == (
        derived.record.sandbox_end,
        derived.record.has_access,
        derived.rederive_at,
    )
    assert [("sandbox_end_invalid", "cus_1"), ("sandbox_end_invalid", "day_1")] == [
        (problem.kind, problem.object_id) for problem in derived.problems
    ]
    with_ours = replace(facts, identity=replace(IDENTITY, sandbox_end=day(40)))
    assert derived.problems == derive(with_ours, as_of=day(30)).problems


@pytest.mark.parametrize(
    ("status", "product_id", "version", "has_access"),
    [
        pytest.param("active", "prod_1", 1, True, id="a live subscription outranks it"),
        pytest.param("unpaid", "prod_1", 1, False, id="also one without access"),
        pytest.param("canceled", "pro", None, True, id="ended: the grant's product, of no version"),
        pytest.param("incomplete", "pro", None, True, id="never started"),
    ],
)
def test_c62_product_while_it_runs(
    status: str, product_id: str, version: int | None, has_access: bool
) -> None:
    """While the grant runs and nothing is live, the product is the grant's; afterwards it is what it was."""
    facts = facts_with(
        replace(SUBSCRIPTION, status=status, ended_at=day(20) if status == "canceled" else None)
    )
    facts = replace(facts, customer=replace(CUSTOMER, metadata=until(40, "pro")))
    running, over = derive(facts, as_of=day(39)), derive(facts, as_of=day(40))
    assert (product_id, version, has_access) == (
        running.record.product_id,
        running.record.product_version_number,
        running.record.has_access,
    )
    without = derive(facts_with(*facts.subscriptions), as_of=day(40)).record
    assert without == replace(over.record, sandbox_end=None, metadata={})
    assert running.record.status == over.record.status
    assert over.rederive_at is None


def test_deleted_customer_has_no_grant() -> None:
    """A customer deleted at Stripe loses a grant, whether its metadata or we had given it."""
    facts = replace(given(here=(40, "pro"), customer=until(41)), deleted_at=day(25))
    derived = derive(facts, as_of=day(30))
    assert (False, None, day(40), None) == (
        derived.record.has_access,
        derived.record.product_id,
        derived.record.sandbox_end,
        derived.rederive_at,
    )


@pytest.mark.parametrize("changed", [{"name": "Bob"}, {"email": None}, {"metadata": {"other": "x"}}])
def test_f124_untouched_by_whatever_does_not_change_it(changed: dict[str, Any]) -> None:
    """No webhook changes a grant that was given here, neither one with metadata nor one without."""
    facts = replace(FACTS, identity=replace(IDENTITY, sandbox_end=day(40)))
    other = replace(facts, customer=replace(CUSTOMER, **changed))
    assert [day(40)] * 3 == [
        derive(each).record.sandbox_end for each in (facts, other, replace(facts, customer=None))
    ]
