"""What one account in one mode holds: its objects, its ids, its event log and its books.

The parts of an account (catalogue, invoices, subscriptions, ...) act on a store and take the other parts that they
need; `account` puts them together.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from random import Random
from typing import TypeVar

import msgspec

from sandbox import shapes
from sandbox.books import Books, customer_status
from sandbox.clock import SandboxClock
from sandbox.events import Event, EventLog, EventStyle, snapshot
from sandbox.objects import LIST_KINDS, Customer, Price, Product, Subscription, Thing
from sandbox.versions import Body, Version, version

_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
AnyThing = TypeVar("AnyThing", bound=Thing)

_BY_SERIAL = attrgetter("serial")
_BY_CREATED = attrgetter("created")


class Journal:
    """What happens in all stores of one sandbox: their events in one order, and listeners for every change."""

    def __init__(self, clock: SandboxClock, style: EventStyle) -> None:
        self.clock = clock
        self.style = style
        self.events: list[Event] = []
        self.changes = 0
        """Grows with everything that happens: an answer stays valid as long as this number does not change."""
        self.request: str | None = None
        """The id of the API request behind what happens now; None: Stripe's own engine acts."""
        self._listeners: list[Callable[[Store, Thing], None]] = []

    def listen(self, listener: "Callable[[Store, Thing], None]") -> None:
        """Call the listener with every object that was created or may have changed, afterwards."""
        self._listeners.append(listener)

    def changed(self, store: "Store", thing: Thing) -> None:
        self.changes += 1
        for listener in self._listeners:
            listener(store, thing)


class Shelf:
    """All objects of one kind, in the order in which they were created."""

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

    def own(self, thing: Thing, customer_id: str) -> None:
        """The object belongs to a customer from now on."""
        thing.customer = customer_id
        self.of_customer[customer_id].append(thing)

    def remove(self, thing: Thing) -> None:
        del self.rows[bisect_left(self.rows, thing.serial, key=_BY_SERIAL)]
        if thing.customer is not None:
            self.of_customer[thing.customer].remove(thing)

    def remove_customer(self, customer_id: str) -> Iterator[Thing]:
        """Remove what belongs to a customer, one object at a time."""
        for thing in tuple(self.of_customer.pop(customer_id, ())):
            del self.rows[bisect_left(self.rows, thing.serial, key=_BY_SERIAL)]
            yield thing

    def between(
        self, created_from: int | None, created_until: int | None, customer: str | None
    ) -> Sequence[Thing]:
        """Objects created in the closed interval, oldest first."""
        rows = self.rows if customer is None else self.of_customer.get(customer, [])
        low = 0 if created_from is None else bisect_left(rows, created_from, key=_BY_CREATED)
        high = len(rows) if created_until is None else bisect_right(rows, created_until, key=_BY_CREATED)
        return rows if (low, high) == (0, len(rows)) else rows[low:high]


class Store:
    """The objects, events and books of one account in one mode.

    `seed`: the sandbox's seed, from which ids and the other draws of this store follow.
    """

    def __init__(self, journal: Journal, seed: int | str, account_id: str, *, live_mode: bool) -> None:
        name = f"{seed}:{account_id}:{live_mode}"
        self.account_id = account_id
        self.live_mode = live_mode
        self.clock = journal.clock
        self.choices = Random(f"{name}:choices")
        self.books = Books()
        self.log = EventLog()
        self.shelves: dict[str, Shelf] = {kind.kind: Shelf() for kind in LIST_KINDS}
        self.things: dict[str, Thing] = {}
        self._journal = journal
        self._ids = Random(f"{name}:ids")
        self._event_choices = Random(f"{name}:events")
        self._born = 0
        self._shown: dict[str, dict[str, Body]] = {}
        self._burst: tuple[int, int] = (-1, 0)
        self._after_events: list[Callable[[Thing], None]] = []

    @property
    def now(self) -> int:
        return self.clock.now

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
        self.changed(thing)

    def remove(self, thing: Thing) -> None:
        """Delete the object: no list and no id leads to it any more."""
        self.shelves[thing.kind].remove(thing)
        del self.things[thing.id]
        self._shown.pop(thing.id, None)
        self.changed(thing)

    def forget(self, customer_id: str) -> None:
        """Drop a customer with all its objects, as if the account had never had it (bounds a long play's memory).

        Raises ValueError while a subscription is running: only a customer that has left for good can be forgotten.
        """
        subscriptions = self.subscriptions_of(customer_id)
        if any(subscription.ended_at is None for subscription in subscriptions):
            raise ValueError(f"{customer_id} has a running subscription: it cannot be forgotten")
        for shelf in self.shelves.values():
            for thing in shelf.remove_customer(customer_id):
                del self.things[thing.id]
                self._shown.pop(thing.id, None)
        customer = self.things.pop(customer_id)
        self.shelves[customer.kind].remove(customer)
        self._shown.pop(customer_id, None)
        self.books.forget(customer_id, [subscription.id for subscription in subscriptions])

    def changed(self, thing: Thing) -> None:
        """Report to listeners that an object was created or may have changed; no event is recorded."""
        self._journal.changed(self, thing)

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
        return self.of_customer(customer_id, Subscription)

    def of_customer(self, customer_id: str, kind: type[AnyThing]) -> list[AnyThing]:
        """The customer's objects of one kind, oldest first."""
        rows = self.shelves[kind.kind].of_customer.get(customer_id, ())
        return [thing for thing in rows if isinstance(thing, kind)]

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
        self.changed(thing)
        self._note_status(thing)
        chosen = self._choose_version()
        before = self._shown.setdefault(thing.id, {})
        previous = before.get(chosen) if event_type.endswith(".updated") else None
        for name in self._journal.style.versions:
            before[name] = shapes.render(thing, version(name), self)
        event = self._record(event_type, before[chosen], chosen, thing.id, thing.customer, previous)
        for act in self._after_events:
            act(thing)
        return event

    def emit_aside(self, event_type: str, thing: Thing) -> None:
        """Like `emit`, for objects on which no record depends: an event only if side events are asked for."""
        if self._journal.style.side_events:
            self.emit(event_type, thing)
        else:
            self.changed(thing)

    def emit_body(self, event_type: str, thing: Thing, make: Callable[[Version], Body]) -> Event:
        """Record an event whose object is not the stored one: an old name of it, or a preview without an id."""
        chosen = self._choose_version()
        body = make(version(chosen))
        return self._record(event_type, body, chosen, body.get("id"), thing.customer, None)

    def after_events(self, act: Callable[[Thing], None]) -> None:
        """Call `act` with the object of each emitted event, once the event is recorded."""
        self._after_events.append(act)

    def _note_status(self, thing: Thing) -> None:
        if not isinstance(thing, (Subscription, Customer)):
            return
        customer_id = thing.id if isinstance(thing, Customer) else thing.customer
        if customer_id is not None:
            status = customer_status(self.customer(customer_id), self.subscriptions_of(customer_id))
            self.books.note_status(customer_id, status)

    def _choose_version(self) -> str:
        return self._event_choices.choice(self._journal.style.versions)

    def _record(
        self,
        event_type: str,
        body: Body,
        api_version: str,
        object_id: str | None,
        customer: str | None,
        previous: Body | None,
    ) -> Event:
        event_id = self.new_id("evt_")
        # Only its event says when a customer was deleted, so that one is stamped to the second.
        created = self.now + (0 if event_type == "customer.deleted" else self._lag())
        envelope = snapshot(
            event_id=event_id,
            event_type=event_type,
            created=created,
            account_id=self.account_id,
            live_mode=self.live_mode,
            api_version=api_version,
            request=self._journal.request,
            body=body,
            previous=previous,
        )
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
        self._journal.events.append(event)
        return event

    def _lag(self) -> int:
        """Events are stamped up to two seconds after the change, and a burst shares one or two stamps."""
        if self._journal.style.inversions:
            return self._event_choices.randrange(3)
        burst, lag = self._burst
        if burst != self.now:
            lag = 0
        elif lag < 2 and self._event_choices.random() < 0.1:
            lag += 1
        self._burst = (self.now, lag)
        return lag
