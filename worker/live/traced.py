"""The traces of what a worker does, written after it was done (docs/traces.md). Nothing here runs while they are off,
and nothing that fails here fails what it tells of.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime

from db.connection import Connection
from db.keys import CustomerKey, Key
from db.sync.inbox import ClaimedEvent, Outcome
from db.sync.traces import select_causes, select_causes_of_customers, select_received
from runtime.traces import Traced, Traces

CUSTOMERS_MAX = 10_000
EVENTS_MAX = 20
"""So many events of one customer have a span for the derivation that follows them."""

_expected: OrderedDict[CustomerKey, dict[Traced, None]] = OrderedDict()
"""Customers whose derivation follows from events that this process has applied or confirmed."""


def _expect(key: CustomerKey, event: Traced) -> None:
    events = _expected.setdefault(key, {})
    if len(events) < EVENTS_MAX:
        events[event] = None
    if len(_expected) > CUSTOMERS_MAX:
        _expected.popitem(last=False)


async def trace_applied(
    connection: Connection,
    traces: Traces,
    applied: Sequence[tuple[ClaimedEvent, Outcome, CustomerKey | None]],
    *,
    began_ns: int,
) -> None:
    """The roots of events that were applied together, and their application; each with its customer."""
    ended_ns = time.time_ns()
    try:
        wanted = [
            (event, Traced(event.event_id, event.live_mode), outcome, customer)
            for event, outcome, customer in applied
            if traces.is_sampled(Traced(event.event_id, event.live_mode))
        ]
        received = await select_received(connection, [event.key for event, *_ in wanted])
        for event, traced, outcome, customer in wanted:
            if customer is not None:
                _expect(customer, traced)
            said = {"type": event.type, "account": event.account_id, "state": outcome.state}
            error = outcome.error if outcome.state == "parked" else None
            received_at = received.get(event.key)
            root_ns = began_ns if received_at is None else _ns(received_at)
            traces.root(traced, began_ns=root_ns, ended_ns=ended_ns, error=error, **said)
            traces.step(
                traced,
                "apply",
                began_ns=began_ns,
                ended_ns=ended_ns,
                error=error,
                batch=len(applied),
                attempts=event.attempts,
                **said,
            )
    except Exception as error:  # noqa: BLE001 - what is traced is done, and goes on
        traces.complain(error)


async def trace_confirmed(
    connection: Connection,
    traces: Traces,
    begun_ns: Mapping[Key, int],
    failed: Mapping[Key, str],
) -> None:
    """Reads that have ended, by object, each in the trace of the latest event about it; why some were not stored."""
    ended_ns = time.time_ns()
    try:
        for cause in await select_causes(connection, sorted(begun_ns)):
            key, event = cause.key, Traced(cause.event_id, cause.key.live_mode)
            if cause.customer_id is not None:
                _expect(CustomerKey(key.account_id, key.live_mode, cause.customer_id), event)
            traces.step(
                event,
                "confirm",
                began_ns=begun_ns[key],
                ended_ns=ended_ns,
                error=failed.get(key),
                account=key.account_id,
                kind=key.kind,
                object=key.id,
            )
    except Exception as error:  # noqa: BLE001 - the same
        traces.complain(error)


async def trace_derived(
    connection: Connection, traces: Traces, exact: Mapping[CustomerKey, bool], *, began_ns: int
) -> None:
    """Derivations, by customer, each in the traces of the events that led to it; whether the record is exact."""
    ended_ns = time.time_ns()
    try:
        causes = {key: dict(_expected.pop(key, {})) for key in exact}
        for key, event_id in await select_causes_of_customers(connection, exact):
            if len(causes[key]) < EVENTS_MAX:
                causes[key][Traced(event_id, key.live_mode)] = None
        for key, events in causes.items():
            for event in events:
                traces.step(
                    event,
                    "derive",
                    began_ns=began_ns,
                    ended_ns=ended_ns,
                    account=key.account_id,
                    customer=key.id,
                    exact=exact[key],
                    batch=len(exact),
                )
    except Exception as error:  # noqa: BLE001 - the same
        traces.complain(error)


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1e9)
