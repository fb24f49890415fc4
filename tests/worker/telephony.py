"""An account with metered use, for the tests of usage."""

from sandbox import Event, Sandbox
from sandbox.objects import Customer, Meter, Subscription
from tests.harness import Harness


class Telephony:
    """A sandbox account that sells single calls on top of a monthly fee, and one customer that makes them."""

    def __init__(self) -> None:
        self.world = Sandbox(seed=7)
        self.account = self.world.home
        self.calls: Meter = self.account.metering.meter("api_calls")
        product = self.account.catalogue.product("Calls", metadata={"quota_limit": "1000"})
        self.fee = self.account.catalogue.price(self.account.catalogue.product("Plan"), 2000)
        self.price = self.account.catalogue.price(product, 3, meter=self.calls)
        self.ada, self.subscription = self.subscriber("Ada")
        self._told = 0

    def subscriber(self, name: str) -> tuple[Customer, Subscription]:
        customer = self.account.clients.create(name, f"{name}@example.com".lower(), payment_method="good")
        return customer, self.account.subscriptions.start(customer, [self.fee, self.price])

    def news(self, seconds: int) -> list[Event]:
        """Let time pass; returns the events that were not delivered yet."""
        self.world.advance(seconds)
        events = self.world.events[self._told :]
        self._told += len(events)
        return events

    @property
    def meter_path(self) -> str:
        return f"/v1/billing/meters/{self.calls.id}/event_summaries"


async def live(harness: Harness, telephony: Telephony, seconds: int = 0) -> None:
    """Let time pass at Stripe; its events arrive and are confirmed."""
    await harness.apply(*telephony.news(seconds))
    await harness.settle()
