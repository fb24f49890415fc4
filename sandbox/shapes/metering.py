"""How meters and their summaries are shown."""

from sandbox.objects import Meter
from sandbox.versions import Body, Version, View


def show_meter(thing: Meter, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "billing.meter",
        "created": thing.created,
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": {"formula": "sum"},
        "display_name": thing.display_name,
        "event_name": thing.event_name,
        "event_time_window": None,
        "livemode": view.live_mode,
        "status": thing.status,
        "status_transitions": {"deactivated_at": thing.deactivated_at},
        "updated": thing.updated,
        "value_settings": {"event_payload_key": "value"},
    }


def show_meter_summary(
    meter: Meter, customer_id: str, window: tuple[int, int], value: int, view: View
) -> Body:
    """A customer's use of a meter in a window, its end excluded."""
    start, end = window
    return {
        "id": f"mtrusg_{meter.id[4:]}_{customer_id[4:]}_{start}_{end}",
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": end,
        "livemode": view.live_mode,
        "meter": meter.id,
        "start_time": start,
    }
