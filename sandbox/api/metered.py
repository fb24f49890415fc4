"""POST /v1/billing/meter_events: use that is reported from outside."""

import re

import msgspec

from sandbox.account import Account
from sandbox.api.parameters import integer
from sandbox.api.reads import parse_parameters
from sandbox.metering import NEWEST_SECONDS, OLDEST_SECONDS
from sandbox.objects import Customer
from sandbox.refusals import RefusedError, missing_parameter
from sandbox.versions import Version

_TAKEN = {"event_name", "identifier", "timestamp", "payload[stripe_customer_id]", "payload[value]"}
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_IDENTIFIER_MAX = 100


def count_meter_event(account: Account, _: Version, form: bytes) -> bytes:
    """Count it once for each identifier. Raises RefusedError, also for one that is counted already, as Stripe does."""
    given = dict(parse_parameters(form))
    for name in given:
        if name not in _TAKEN:
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
    for name in ("event_name", "payload[stripe_customer_id]", "payload[value]"):
        if name not in given:
            raise missing_parameter(name)
    meter = account.metering.find(given["event_name"])
    if meter is None:
        raise RefusedError(
            400, f"No active meter found matching event name {given['event_name']}.", code="no_meter"
        )
    customer = account.find(given["payload[stripe_customer_id]"])
    if not isinstance(customer, Customer) or customer.deleted_at is not None:
        raise RefusedError(
            400, "The customer of this meter event cannot be found.", code="meter_event_customer_not_found"
        )
    if not _WHOLE.fullmatch(given["payload[value]"]):
        raise RefusedError(400, "The value must be a whole number.", code="meter_event_invalid_value")
    at = integer(given, "timestamp")
    at = account.now if at is None or account.metering.takes_any_time else at
    if not account.now - OLDEST_SECONDS <= at <= account.now + NEWEST_SECONDS:
        raise RefusedError(
            400,
            "The timestamp must be within the past 35 calendar days or up to 5 minutes in the future.",
            param="timestamp",
        )
    identifier = given.get("identifier") or account.new_id("me_")
    if len(identifier) > _IDENTIFIER_MAX:
        raise RefusedError(400, "Invalid string: the identifier is too long.", param="identifier")
    if account.metering.is_known(identifier):
        raise RefusedError(400, f"An event already exists with identifier {identifier}.")
    account.metering.report(customer.id, meter, int(given["payload[value]"]), at=at, identifier=identifier)
    return msgspec.json.encode(
        {
            "object": "billing.meter_event",
            "created": account.now,
            "event_name": meter.event_name,
            "identifier": identifier,
            "livemode": account.live_mode,
            "payload": {"stripe_customer_id": customer.id, "value": given["payload[value]"]},
            "timestamp": at,
        }
    )
