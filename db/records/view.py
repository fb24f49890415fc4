"""One customer with everything that people are shown of it: by the command line, and by the console."""

import dataclasses
from dataclasses import dataclass

from msgspec import UnsetType

from billing.facts import unlinked_key
from db.connection import Connection
from db.keys import CustomerKey
from db.records.customer import (
    LastEvent,
    StoredCustomer,
    select_last_events,
    select_mark,
    select_unsettled,
)
from db.records.full import EXPANDS, Customer, with_parts
from db.records.joins import select_all_of
from db.sync.inbox_admin import CustomerMark, FenceEntry, standing
from db.sync.status import KnownProblem, select_problems_of_customer


@dataclass(frozen=True, kw_only=True)
class CustomerView:
    """One customer with everything that is shown, all of it from one moment."""

    record: Customer
    """With all its parts."""
    stripe_ids: tuple[str, ...]
    """Of all customers of Stripe's that share it, the main one first."""
    problems: list[KnownProblem]
    marks: list[CustomerMark]
    """Of each of these; none for a record that nothing derives any more."""
    unsettled: list[FenceEntry]
    last_events: list[LastEvent]

    def reasons(self) -> list[str]:
        """Why the record is not exact or may soon change; empty when there is no reason."""
        reasons = []
        for mark in self.marks:
            if mark.parked_at is not None:
                reasons.append(f"deriving it failed repeatedly and was given up: {mark.error}")
            elif mark.is_stale:
                reasons.append("its facts have changed, and it will be derived again soon")
            if not mark.complete:
                reasons.append(_incomplete(mark))
        for entry in self.unsettled:
            error = f": {entry.error}" if entry.error else ""
            reasons.append(f"{entry.kind} {entry.id} {_verb(entry)}{error}")
        if not reasons and not self.record.exact and self.record.deleted_at is not None:
            reasons.append(
                "it was deleted before it was read: the next fill of gaps brings what events still say of it"
            )
        return list(dict.fromkeys(reasons))

    def document(self) -> dict[str, object]:
        """The whole record with its parts and sources."""
        return {
            **{
                field.name: value
                for field in dataclasses.fields(self.record)
                if not isinstance(value := getattr(self.record, field.name), UnsetType)
            },
            "stripe_ids": self.stripe_ids,
            "problems": self.problems,
            "last_events": self.last_events,
            "unsettled_objects": [
                {**dataclasses.asdict(entry), "standing": standing(entry)} for entry in self.unsettled
            ],
            "not_exact_because": self.reasons(),
        }


def _incomplete(mark: CustomerMark) -> str:
    unknown = "its history is not known from the start, because no customer.created came"
    if mark.history_error is not None:
        return f"{unknown}; pulling it from Stripe failed: {mark.history_error}"
    if mark.history_at is not None:
        return f"{unknown}; it will be pulled from Stripe"
    return f"{unknown}, and no backfill covers it"


def _verb(entry: FenceEntry) -> str:
    state = standing(entry)
    if state == "missing":
        return f"is not found at Stripe since {entry.missing_since:%Y-%m-%d %H:%M} UTC"
    return "is parked" if state == "parked" else state


async def read_view(connection: Connection, record: StoredCustomer, *, events_max: int) -> CustomerView:
    """Everything about this customer. In one transaction that repeats its reads it is of one moment."""
    main = record.stripe_customer_id
    key = CustomerKey(record.account_id, record.live_mode, main or unlinked_key(record.uid))
    keys = sorted(await select_all_of(connection, key), key=lambda each: each != key)
    events = {
        event.event_id: event
        for each in keys
        for event in await select_last_events(connection, each, limit=events_max)
    }
    marks = [await select_mark(connection, each) for each in keys]
    return CustomerView(
        record=await with_parts(connection, record, EXPANDS),
        stripe_ids=() if main is None else tuple(each.id for each in keys),
        problems=[
            problem for each in keys for problem in await select_problems_of_customer(connection, *each)
        ],
        marks=[mark for mark in marks if mark is not None],
        unsettled=[entry for each in keys for entry in await select_unsettled(connection, each)],
        last_events=sorted(events.values(), key=lambda event: event.received_at, reverse=True)[:events_max],
    )
