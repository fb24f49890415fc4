"""What customers use, counted by meters and billed at the end of a period."""

from collections import defaultdict

from sandbox.objects import Customer, Meter
from sandbox.periods import DAY, MINUTE
from sandbox.store import Store

REMEMBERED_SECONDS = DAY
"""How long an identifier is recognised: Stripe promises no more."""
OLDEST_SECONDS, NEWEST_SECONDS = 35 * DAY, 5 * MINUTE
"""How far back and ahead a report may look."""


class Metering:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self._reported_at: dict[str, int] = {}
        """By identifier."""
        self.takes_any_time = False
        """Whether what is reported counts as used now, whatever its time: a living account has a clock of its own."""

    def meter(self, event_name: str) -> Meter:
        """Count something from now on, as the sum of the values of its events."""
        store = self._store
        meter = Meter(
            id=store.new_id("mtr_test_"),
            created=store.now,
            event_name=event_name,
            display_name=event_name.replace("_", " ").capitalize(),
            updated=store.now,
        )
        store.add(meter)
        store.emit("billing.meter.created", meter)
        return meter

    def use(self, customer: Customer, meter: Meter, value: int) -> None:
        """Report use by the customer at this moment. Stripe sends no event for that."""
        self._used[customer.id, meter.id].append((self._store.now, value))
        self._store.changed(meter)

    def find(self, event_name: str) -> Meter | None:
        """The active meter that counts this."""
        meters = (thing for thing in self._store.shelves["billing.meter"].rows if isinstance(thing, Meter))
        return next(
            (each for each in meters if (each.event_name, each.status) == (event_name, "active")), None
        )

    def is_known(self, identifier: str) -> bool:
        """Whether a report with this identifier came within the time for which it is remembered."""
        at = self._reported_at.get(identifier)
        return at is not None and self._store.now - at < REMEMBERED_SECONDS

    def report(self, customer_id: str, meter: Meter, value: int, *, at: int, identifier: str) -> None:
        """Count what was reported from outside, at the moment of its use."""
        self._reported_at[identifier] = self._store.now
        self._used[customer_id, meter.id].append((at, value))
        self._store.changed(meter)

    def used(self, customer_id: str, meter_id: str, start: int, end: int) -> int | None:
        """The sum from `start` on until just before `end`; None: nothing was reported."""
        values = [value for at, value in self._used.get((customer_id, meter_id), ()) if start <= at < end]
        return sum(values) if values else None

    def deactivate(self, meter: Meter) -> None:
        store = self._store
        meter.status, meter.deactivated_at, meter.updated = "inactive", store.now, store.now
        store.emit("billing.meter.deactivated", meter)

    def forget(self, customer_id: str) -> None:
        for used in [(customer, meter) for customer, meter in self._used if customer == customer_id]:
            del self._used[used]
