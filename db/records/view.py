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
from db.sync.inbox_admin import CustomerMark, FenceEntry, standing
from db.sync.status import KnownProblem, select_problems_of_customer


@dataclass(frozen=True, kw_only=True)
class CustomerView:
    """One customer with everything that is shown, all of it from one moment."""

    record: Customer
    """With all its parts."""
    problems: list[KnownProblem]
    mark: CustomerMark | None
    """None for a record that nothing derives any more."""
    unsettled: list[FenceEntry]
    last_events: list[LastEvent]

    def reasons(self) -> list[str]:
        """Why the record is not exact or may soon change; empty when there is no reason."""
        reasons = []
        mark = self.mark
        if mark is not None:
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
        return reasons

    def document(self) -> dict[str, object]:
        """The whole record with its parts and sources."""
        return {
            **{
                field.name: value
                for field in dataclasses.fields(self.record)
                if not isinstance(value := getattr(self.record, field.name), UnsetType)
            },
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
    key = CustomerKey(
        record.account_id, record.live_mode, record.stripe_customer_id or unlinked_key(record.uid)
    )
    return CustomerView(
        record=await with_parts(connection, record, EXPANDS),
        problems=await select_problems_of_customer(connection, *key),
        mark=await select_mark(connection, key),
        unsettled=await select_unsettled(connection, key),
        last_events=await select_last_events(connection, key, limit=events_max),
    )
