"""What a given API version shows: one function per object, one file per family, after Stripe's own example objects."""

from sandbox.shapes.catalogue import show_plan
from sandbox.shapes.checkout import show_session_line
from sandbox.shapes.customers import show_deleted_customer
from sandbox.shapes.entitlements import show_entitlement_summary
from sandbox.shapes.invoices import show_line
from sandbox.shapes.metering import show_meter_summary
from sandbox.shapes.rendering import render
from sandbox.shapes.subscriptions import show_item

__all__ = [
    "render",
    "show_deleted_customer",
    "show_entitlement_summary",
    "show_item",
    "show_line",
    "show_meter_summary",
    "show_plan",
    "show_session_line",
]
