"""GET /customers: every customer once, by the page; and the feed, which misses nothing."""

import pytest

from db.records import pages
from tests.harness import customer, event, subscription
from tests.webhooks.api.client import Answered, Service, open_service

COUNT = 25


async def fill(service: Service) -> None:
    """Customers that Stripe knows and others, with and without a status."""
    harness = service.harness
    await harness.apply(
        *(
            event(
                "customer.created",
                customer(
                    f"cus_{number}", email=f"u{number % 5}@example.com", metadata={"plan": str(number % 2)}
                ),
            )
            for number in range(COUNT)
        ),
        *(
            event("customer.subscription.created", subscription(f"sub_{number}", f"cus_{number}"))
            for number in range(10)
        ),
        event("customer.created", customer("cus_far", email="u0@example.com"), account="acct_far"),
    )
    await harness.execute("insert into billing.identities (live_mode, custom_uid) values (false, 'own')")
    await harness.engine.derive()


async def walk(service: Service, query: str, *, limit: int = 7) -> list[str]:
    """The names of all customers on all pages."""
    names: list[str] = []
    cursor = ""
    while True:
        page = await service.get(f"/customers?mode=test&limit={limit}{query}{cursor}")
        assert 200 == page.status, page.body
        names += [each["stripe_customer_id"] or each["custom_uid"] for each in page.body["data"]]
        if page.body["next_cursor"] is None:
            return names
        cursor = f"&cursor={page.body['next_cursor']}"


async def test_pages(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each customer once, whatever the pages' size and however few are gone through; filters; another account."""
    every = {*(f"cus_{number}" for number in range(COUNT)), "own"}
    active = {f"cus_{number}" for number in range(10)}
    async with open_service(database_url, api_key=None, working=False) as service:
        await fill(service)
        for walked in (pages.WALKED_MAX, 3):
            monkeypatch.setattr(pages, "WALKED_MAX", walked)
            for query, expected in (
                ("", every),
                ("&change_after=0", every),
                ("&status=active", active),
                ("&status=active&change_after=0", active),
                ("&status=none", every - active),
                ("&has_access=true", active),
                ("&email=U1@example.com", {f"cus_{number}" for number in range(1, COUNT, 5)}),
                ("&metadata[plan]=1", {f"cus_{number}" for number in range(1, COUNT, 2)}),
                ("&metadata[plan]=1&status=active", {f"cus_{number}" for number in range(1, 10, 2)}),
                ("&product_id=none_has_it", set()),
                ("&account=acct_far", {"cus_far"}),
            ):
                found = await walk(service, query)
                assert sorted(expected) == sorted(found), (query, walked)
        for query, field in (
            ("limit=0", "query.limit"),
            ("limit=201", "query.limit"),
            ("status=happy", "query.status"),
            ("cursor=x", "query.cursor"),
            (f"cursor=u{0:032x}%0A", "query.cursor"),
            ("change_after=-1", "query.change_after"),
            ("has_access=null", "query.has_access"),
        ):
            refused = await service.get(f"/customers?mode=test&{query}")
            assert 422 == refused.status, query
            assert field in refused.problem("invalid")


async def test_cursor_of_another_order(database_url: str) -> None:
    """The feed does not go on where pages in the order of uids ended."""
    async with open_service(database_url, api_key=None, working=False) as service:
        refused = await service.get(f"/customers?mode=test&change_after=0&cursor=u{0:032x}")
    assert 409 == refused.status
    assert "query.cursor" in refused.problem("conflict")


async def test_feed(database_url: str) -> None:
    """A reader that goes on from `change` is told of every change, once, and of another epoch."""
    async with open_service(database_url, api_key=None, working=False) as service:

        async def changes(after: int, epoch: str = "") -> Answered:
            said = f"&epoch={epoch}" if epoch else ""
            return await service.get(f"/customers?mode=test&change_after={after}{said}")

        await fill(service)
        first = await changes(0)
        assert (COUNT + 1, None) == (len(first.body["data"]), first.body["next_cursor"])
        assert sorted(numbers := [each["change"] for each in first.body["data"]]) == numbers
        reached, epoch = first.body["change"], first.body["epoch"]
        assert [] == (await changes(reached, epoch)).body["data"]
        await service.harness.apply(event("customer.updated", customer("cus_3", name="New"), after=9))
        (changed,) = (await changes(reached, epoch)).body["data"]
        assert ("cus_3", "New") == (changed["stripe_customer_id"], changed["name"])
        await service.harness.execute("select sync.begin_incarnation('a test', 0, 0)")
        refused = await changes(reached, epoch)
        assert 409 == refused.status
        assert "change_after=0" in refused.problem("conflict")
