"""The overview, the customers and one customer, of a small account with everything in it."""

from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from db.records.customer import StoredCustomer
from tests.harness import customer, event
from tests.webhooks.api.client import Service
from tests.webhooks.console.browser import Browser, Document, browser_at
from tests.webhooks.console.world import EVIL, live
from webhooks.console import customers
from webhooks.console.customer import SECTIONS
from webhooks.console.pages import MENU

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(service: Service) -> AsyncIterator[Browser]:
    """Somebody who is logged in, after everything has happened."""
    await live(service)
    async with browser_at(service.port) as browser:
        await browser.enter()
        yield browser


async def api_record(service: Service, name: str) -> dict[str, Any]:
    """The customer as the API shows it."""
    parts = "products,entities,features,revenue,mrr,usage,timeline"
    body: dict[str, Any] = (await service.get(f"/customers/{name}?expand={parts}")).body
    return body


async def page_of(browser: Browser, service: Service, name: str) -> Document:
    """The customer's page."""
    return await browser.see(f"/console/customers/{(await api_record(service, name))['uid']}")


async def test_overview(browser: Browser) -> None:
    """Counts by status, what is exact, MRR, what waits, the newest changes, and a chart of each kind."""
    page = await browser.see("/")
    assert "Customers 3 not deleted at Stripe" in page.text
    assert "MRR USD 1,234.50 1 customer" in page.text  # three seats at 411.50
    assert "Events waiting 0" in page.text
    assert "/console/customers?status=active" == page.links["active"]
    assert page.links["Anna Berg"].startswith("/console/customers/")
    charts = ["Customers by status", "Monthly recurring revenue, USD", "What moved it, USD"]
    charts += ["Net revenue by month, USD", "Net revenue by month, JPY"]
    assert set(charts) <= set(page.texts)
    tags = [tag for tag, _ in page.elements]
    assert (len(charts), len(charts)) == (page.with_class("chart"), tags.count("details"))


async def test_menu_leads_to_pages(browser: Browser) -> None:
    """Each entry is there, says which page this is, and every page has landmarks, a title and one first heading."""
    for address, name in MENU:
        page = await browser.see(address)
        assert address == page.links[name]
        here = [given["href"] for tag, given in page.elements if given.get("aria-current")]
        assert [address] == here
        tags = [tag for tag, _ in page.elements]
        assert [1] * 4 == [tags.count(tag) for tag in ("main", "header", "footer", "h1")]
        for tag, given in page.elements:
            if tag == "th":
                assert given.get("scope") in ("col", "row")


async def test_every_field_has_its_words() -> None:
    """The page leaves out no field of the record."""
    shown = {field for section in SECTIONS.values() for field in section}
    elsewhere = {"metadata", "lifetime_revenue", "revenue_currency"}
    assert {field.name for field in fields(StoredCustomer)} == shown | elsewhere


@pytest.mark.parametrize("name", ["cus_1", "local-1"])
async def test_a_page_says_what_the_api_says(browser: Browser, service: Service, name: str) -> None:
    """Every field of the record, in words."""
    record = await api_record(service, name)
    page = await browser.see(f"/console/customers/{record['uid']}")
    shown = page.fields
    for section in SECTIONS.values():
        for field in section:
            assert _said(field, record[field]) == shown[field].replace(",", ""), field
    assert set(record["metadata"].values()) <= set(page.texts)


def _said(field: str, value: object) -> str:
    match value:
        case None if field == "status":
            return "none"
        case None:
            return "–"  # noqa: RUF001
        case bool() if field == "live_mode":
            return "live" if value else "test"
        case bool():
            return "yes" if value else "no"
        case "":
            return "none: the account of the key"
        case str() if field.endswith(("_at", "_seen", "_end", "_date")):
            return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


async def test_parts_of_a_customer(browser: Browser, service: Service) -> None:
    """Products, money in each currency, MRR, entities and what it may use."""
    page = await page_of(browser, service, "cus_1")
    assert "Lifetime revenue 1,234.56 USD" in page.text
    assert "MRR USD 1,234.50 1 subscription" in page.text
    assert "JPY 5,000 0 0 0 5,000" in page.text
    assert "USD 1,234.56 0.00 0.00 0.00 1,234.56" in page.text
    assert "pro for team-1 active" in page.text
    assert "seats team-1 yes subscription 3 0 3" in page.text
    assert "Entitlements at Stripe: reports ." in page.text


async def test_timeline_down_to_the_event(browser: Browser, service: Service) -> None:
    """Each change of status names the event that announced it, what it is about and what it says, the latest first."""
    record = await api_record(service, "cus_1")
    page = await browser.see(f"/console/customers/{record['uid']}")
    named = [each["event_id"] for each in record["status_changes"]]
    assert ["evt_trial", "evt_active"] == named
    assert {f"/console/events/{event_id}" for event_id in named} <= set(page.links.values())
    told = page.text
    assert (
        "An event of Stripe's announced it. customer.subscription.updated about subscription sub_1 : evt_active"
        in told
    )
    assert "status: trialing → active trial_end: 2026-09-28" in told
    assert told.index("evt_active") < told.index("evt_trial")


async def test_texts_of_strangers_stay_texts(browser: Browser, service: Service) -> None:
    """A customer's name, description and metadata are shown as they are, and never become a part of the page."""
    pages = [
        await page_of(browser, service, "cus_2"),
        await browser.see("/console/customers"),
        await browser.see("/console/customers?q=%3Cscript%3Ealert(1)%3C/script%3E", status=404),
    ]
    assert EVIL in pages[0].texts
    assert EVIL in pages[1].links
    for page in pages:
        scripts = [given for tag, given in page.elements if tag == "script"]
        assert [] == [given for given in scripts if not str(given.get("src")).startswith("/console/static/")]
        assert [] == [given for tag, given in page.elements if tag == "img"]


@pytest.mark.parametrize(
    "name", ["anna-1", "cus_1", "anna@example.com", "Anna@Example.com", "sub_1", "ch_usd", "%20cus_1%20"]
)
async def test_search_by_any_id(browser: Browser, service: Service, name: str) -> None:
    """Any name of the customer, and the id of anything of it, leads to its page."""
    page = await browser.see(f"/console/customers?q={name}")
    assert "cus_1" == page.fields["stripe_customer_id"]


async def test_search_for_an_event(browser: Browser) -> None:
    """The id of an event leads to the event."""
    page = await browser.see("/console/customers?q=evt_active")
    assert "customer.subscription.updated" in page.text
    await browser.see("/console/customers?q=evt_nobody", status=404)


async def test_search_for_what_is_not_there(browser: Browser) -> None:
    """It says so; the form keeps what was typed."""
    page = await browser.see("/console/customers?q=cus_nobody", status=404)
    assert "No customer has the id or email cus_nobody ." in page.text
    assert "cus_nobody" in [given.get("value") for _, given in page.elements]
    page = await browser.see("/console/customers?q=prod_1", status=404)
    assert "It is the id of a product" in page.text


async def test_search_that_finds_several(browser: Browser, service: Service) -> None:
    """An email may be that of several customers: then they are listed."""
    for name in ("twin-1", "twin-2"):
        await service.put(f"/customers/{name}", {"email": "twins@example.com"})
    page = await browser.see("/console/customers?q=twins@example.com")
    assert "2 customers have this name" in page.text
    assert {"twin-1", "twin-2"} <= set(page.texts)


@pytest.mark.parametrize(
    ("query", "anna", "local"),
    [
        ("", True, True),
        ("status=active", True, False),
        ("status=none&access=no", False, True),
        ("product=pro&access=yes", True, False),
        ("product=other", False, False),
        ("mode=live", False, False),
        ("account=acct_other", False, False),
        ("status=nonsense", True, True),
    ],
)
async def test_filters(browser: Browser, query: str, anna: bool, local: bool) -> None:
    """By status, product, access, mode and account."""
    page = await browser.see(f"/console/customers?{query}")
    assert (anna, local) == ("Anna Berg" in page.links, "Local Only" in page.links)


def addresses(page: Document) -> list[str]:
    """Where the customers of a list are."""
    to = [str(given.get("href")) for tag, given in page.elements if tag == "a"]
    return [each for each in to if each.startswith("/console/customers/")]


async def test_pages_follow_each_other(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the last uid of the page: each customer is on one page."""
    everyone = addresses(await browser.see("/console/customers"))
    monkeypatch.setattr(customers, "LISTED", 1)
    address, seen = "/console/customers?access=no", []
    while address:
        page = await browser.see(address)
        seen += addresses(page)
        address = page.links.get("Next page", "")
        assert not address or "access=no" in address
    assert len(seen) == len(set(seen)) > 1
    assert set(seen) < set(everyone)
    assert (await browser.ask("GET", "/console/customers?after=x")).status == 422


async def test_refresh_reads_stripe(browser: Browser, service: Service) -> None:
    """What was changed at Stripe without an event is there after it, and the page says that the record is exact."""
    service.harness.api.put(customer("cus_3", name="Before"))
    await service.harness.receive(event("customer.created", customer("cus_3", name="Before")))
    await service.until_record("cus_3", exact=True)
    service.harness.api.put(customer("cus_3", name="After"))
    page = await page_of(browser, service, "cus_3")
    (action,) = [address for address in page.forms if address.endswith("/refresh")]
    done = await browser.post(action)
    assert (303, action.removesuffix("/refresh")) == (done.status, done.headers["Location"])
    assert (await service.harness.record("cus_3"))["exact"]
    page = await browser.see(done.headers["Location"])
    assert "Stripe was read, and the record is exact." in page.text
    assert "Stripe was read" not in (await browser.see(done.headers["Location"])).text  # said once


async def test_what_cannot_be_refreshed(browser: Browser, service: Service) -> None:
    """Of a customer that Stripe does not know, there is nothing to read, and no button."""
    page = await page_of(browser, service, "local-1")
    assert not [address for address in page.forms if address.endswith("/refresh")]
    answer = await browser.post(f"/console/customers/{(await api_record(service, 'local-1'))['uid']}/refresh")
    assert 409 == answer.status
    assert "Stripe does not know this customer" in answer.page.text


@pytest.mark.parametrize("uid", ["x", "cus_1", "00000000-0000-0000-0000-000000000000", "a/b", "%00"])
async def test_nobody(browser: Browser, uid: str) -> None:
    """A page of nobody says how to find somebody."""
    assert (await browser.ask("GET", f"/console/customers/{uid}")).status in (404, 422)


async def test_alarms_and_lost_workers_are_seen_first(browser: Browser, service: Service) -> None:
    """What needs somebody stands above everything else."""
    harness = service.harness
    await harness.execute("insert into sync.alarms (name, detail) values ('a test', 'with <b>markup</b>')")
    page = await browser.see("/")
    assert "Alarm. a test: with <b>markup</b>" in page.text
    assert "No worker." in page.text  # the engine of the test is no process with a heartbeat
    await harness.execute("delete from sync.alarms")
