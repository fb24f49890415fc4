"""What customers use, counted by meters and billed at the end of a period."""

from collections import defaultdict

from sandbox.objects import Customer, Meter
from sandbox.store import Store


class Metering:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)

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
