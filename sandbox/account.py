"""One account in one mode: its objects, its event log, its books, and the parts that act on them."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, TypeVar

import msgspec

from sandbox import shapes
from sandbox.books import Books, customer_status
from sandbox.catalogue import Catalogue
from sandbox.customers import Customers
from sandbox.entitlements import Entitlements
from sandbox.invoices import Invoices
from sandbox.metering import Metering
from sandbox.objects import LIST_KINDS, Customer, Price, Product, Subscription, Thing
from sandbox.payments import Payments
from sandbox.schedules import Schedules
from sandbox.subscriptions import Subscriptions
from sandbox.versions import Body, Version, version

if TYPE_CHECKING:
    from sandbox.world import Sandbox

_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
AnyThing = TypeVar("AnyThing", bound=Thing)

_BY_SERIAL = attrgetter("serial")
_BY_CREATED = attrgetter("created")


@dataclass(slots=True, kw_only=True)
class Event:
    """One entry of the event log; `body` is what is signed and posted, byte for byte."""

    id: str
    type: str
    created: int
    account_id: str
    live_mode: bool
    api_version: str
    object_id: str | None
    customer: str | None
    body: bytes
    serial: int
    delivered: bool = False


class Shelf:
    """All objects of one kind, in order of birth."""

    def __init__(self) -> None:
        self.rows: list[Thing] = []
        self.of_customer: defaultdict[str, list[Thing]] = defaultdict(list)

    def add(self, thing: Thing) -> None:
        self.rows.append(thing)
        if thing.customer is not None:
            self.of_customer[thing.customer].append(thing)

    def disown(self, thing: Thing) -> None:
        """The object stays, but no longer belongs to its customer."""
        if thing.customer is not None:
            self.of_customer[thing.customer].remove(thing)
            thing.customer = None

    def remove(self, thing: Thing) -> None:
        del self.rows[bisect_left(self.rows, thing.serial, key=_BY_SERIAL)]
        if thing.customer is not None:
            self.of_customer[thing.customer].remove(thing)

    def between(
        self, created_from: int | None, created_until: int | None, customer: str | None
    ) -> Sequence[Thing]:
        """Objects born in the closed interval, oldest first."""
        rows = self.rows if customer is None else self.of_customer.get(customer, [])
        low = 0 if created_from is None else bisect_left(rows, created_from, key=_BY_CREATED)
        high = len(rows) if created_until is None else bisect_right(rows, created_until, key=_BY_CREATED)
        return rows if (low, high) == (0, len(rows)) else rows[low:high]


@dataclass(slots=True)
class EventLog:
    rows: list[Event] = field(default_factory=list)
    by_id: dict[str, Event] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        self.rows.append(event)
        self.by_id[event.id] = event

    def keep_latest(self, count: int) -> None:
        surplus = max(len(self.rows) - count, 0)
        for event in self.rows[:surplus]:
            del self.by_id[event.id]
        del self.rows[:surplus]


class Account:
    """An account of the sandbox in one mode. Every action leaves objects, events and entries in the books."""

    def __init__(self, world: "Sandbox", account_id: str, live_mode: bool) -> None:
        name = f"{world.seed}:{account_id}:{live_mode}"
        self.world = world
        self.account_id = account_id
        self.live_mode = live_mode
        self.choices = Random(f"{name}:choices")
        self.books = Books()
        self.log = EventLog()
        self.shelves: dict[str, Shelf] = {kind.kind: Shelf() for kind in LIST_KINDS}
        self.things: dict[str, Thing] = {}
        self._ids = Random(f"{name}:ids")
        self._event_choices = Random(f"{name}:events")
        self._born = 0
        self._shown: dict[str, dict[str, Body]] = {}
        self._burst: tuple[int, int] = (-1, 0)
        self.catalogue = Catalogue(self)
        self.clients = Customers(self)
        self.payments = Payments(self)
        self.invoices = Invoices(self)
        self.subscriptions = Subscriptions(self)
        self.schedules = Schedules(self)
        self.metering = Metering(self)
        self.entitlements = Entitlements(self)

    @property
    def now(self) -> int:
        return self.world.now

    # Objects

    def new_id(self, prefix: str) -> str:
        return prefix + "".join(self._ids.choices(_ID_ALPHABET, k=24 if prefix.startswith("evt") else 14))

    def add(self, thing: Thing) -> None:
        if thing.id in self.things:
            raise ValueError(f"{thing.id} exists already in this account")
        self._born += 1
        thing.serial = self._born
        self.things[thing.id] = thing
        self.shelves[thing.kind].add(thing)
        self.world.changed(self, thing)

    def remove(self, thing: Thing) -> None:
        """Nobody finds it any more."""
        self.shelves[thing.kind].remove(thing)
        del self.things[thing.id]
        self._shown.pop(thing.id, None)
        self.world.changed(self, thing)

    def forget(self, customer_id: str) -> None:
        """Drop a customer with all its objects, as if the account had never had it (bounds a long play's memory).

        Only one who has left for good can be forgotten.
        """
        subscriptions = self.subscriptions_of(customer_id)
        if any(subscription.ended_at is None for subscription in subscriptions):
            raise ValueError(f"{customer_id} has a running subscription: it cannot be forgotten")
        for shelf in self.shelves.values():
            for thing in tuple(shelf.of_customer.pop(customer_id, ())):
                del shelf.rows[bisect_left(shelf.rows, thing.serial, key=_BY_SERIAL)]
                del self.things[thing.id]
                self._shown.pop(thing.id, None)
        customer = self.things.pop(customer_id)
        self.shelves[customer.kind].remove(customer)
        self._shown.pop(customer_id, None)
        self.books.forget(customer_id, [subscription.id for subscription in subscriptions])
        self.metering.forget(customer_id)
        self.payments.forget_payouts()

    def find(self, object_id: str) -> Thing | None:
        return self.things.get(object_id)

    def customer(self, customer_id: str | None) -> Customer:
        return self._known(customer_id, Customer)

    def price(self, price_id: str) -> Price:
        return self._known(price_id, Price)

    def product(self, product_id: str) -> Product:
        return self._known(product_id, Product)

    def subscription(self, subscription_id: str | None) -> Subscription:
        return self._known(subscription_id, Subscription)

    def subscriptions_of(self, customer_id: str) -> list[Subscription]:
        rows = self.shelves["subscription"].of_customer.get(customer_id, ())
        return [thing for thing in rows if isinstance(thing, Subscription)]

    def customers(self) -> Iterator[Customer]:
        return (thing for thing in self.shelves["customer"].rows if isinstance(thing, Customer))

    def find_event(self, event_id: str) -> Event | None:
        return self.log.by_id.get(event_id)

    def _known(self, object_id: str | None, kind: type[AnyThing]) -> AnyThing:
        thing = self.things.get(object_id or "")
        if not isinstance(thing, kind):
            raise KeyError(f"no {kind.kind} {object_id}")
        return thing

    # Events

    def emit(self, event_type: str, thing: Thing) -> Event:
        """Record that something happened to an object, with its state at this moment."""
        self.world.changed(self, thing)
        if isinstance(thing, (Subscription, Customer)):
            customer_id = thing.id if isinstance(thing, Customer) else thing.customer
            if customer_id is not None:
                self.books.note_status(customer_id, customer_status(self, customer_id))
        chosen = self._event_choices.choice(self.world.event_versions)
        before = self._shown.setdefault(thing.id, {})
        previous = before.get(chosen) if event_type.endswith(".updated") else None
        for name in self.world.event_versions:
            before[name] = shapes.render(thing, version(name), self)
        event = self._record(event_type, before[chosen], chosen, thing.id, thing.customer, previous)
        if isinstance(thing, Subscription) and thing.customer is not None:
            self.entitlements.review(thing.customer)
        return event

    def emit_aside(self, event_type: str, thing: Thing) -> None:
        """Like `emit`, of something that no record depends on: an event only where the sandbox is to tell all."""
        if self.world.side_events:
            self.emit(event_type, thing)
        else:
            self.world.changed(self, thing)

    def emit_body(self, event_type: str, thing: Thing, make: Callable[[Version], Body]) -> Event:
        """Record an event whose object is not the stored one: an old name of it, or a preview without an id."""
        chosen = self._event_choices.choice(self.world.event_versions)
        body = make(version(chosen))
        return self._record(event_type, body, chosen, body.get("id"), thing.customer, None)

    def _record(
        self,
        event_type: str,
        body: Body,
        api_version: str,
        object_id: str | None,
        customer: str | None,
        previous: Body | None,
    ) -> Event:
        data: Body = {"object": body}
        if event_type.endswith(".updated"):
            data["previous_attributes"] = {} if previous is None else _differences(previous, body)
        event_id = self.new_id("evt_")
        # Nothing but its event tells when a customer was deleted, so that one is stamped to the second.
        created = self.now + (0 if event_type == "customer.deleted" else self._lag())
        request = self.world.request
        envelope: Body = {
            "id": event_id,
            "object": "event",
            "api_version": api_version,
            "created": created,
            "data": data,
            "livemode": self.live_mode,
            "pending_webhooks": 1,
            "request": {"id": request, "idempotency_key": None},
            "type": event_type,
        }
        if self.account_id:
            envelope["account"] = self.account_id
        self._born += 1
        event = Event(
            id=event_id,
            type=event_type,
            created=created,
            account_id=self.account_id,
            live_mode=self.live_mode,
            api_version=api_version,
            object_id=object_id,
            customer=customer,
            body=msgspec.json.encode(envelope),
            serial=self._born,
        )
        self.log.add(event)
        self.world.events.append(event)
        return event

    def _lag(self) -> int:
        """Events are stamped up to two seconds after the change, and a burst shares one or two stamps."""
        if self.world.inversions:
            return self._event_choices.randrange(3)
        burst, lag = self._burst
        if burst != self.now:
            lag = 0
        elif lag < 2 and self._event_choices.random() < 0.1:
            lag += 1
        self._burst = (self.now, lag)
        return lag


def _differences(before: Body, after: Body) -> Body:
    """The fields that changed with their old values; inside an object only those of its fields that changed."""
    found: Body = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") != "list":
            found[key] = _differences(old, new)
        else:
            found[key] = old
    return dict(sorted(found.items()))
