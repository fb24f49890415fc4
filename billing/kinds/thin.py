"""What a thin event names: it says that an object has changed, and carries no state of it.

Its type is `v1.` and the type of the snapshot event about the same change, or a finer one. `related_object` has the
type, perhaps the id, and the address of the object. What has no id of its own is named by its owner, in the address: a
discount by `/v1/customers/cus_1/discount`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from billing.kinds.found import ObjectRef, is_id_of
from billing.kinds.registry import concerns_of, kind_of, tells_of_mirrored

_OWNER = re.compile(r"/(customers|subscriptions)/([^/?#]+)(?=/)|[?&](customer)=([^&#]+)")
_FIELDS = {"customers": "customer", "subscriptions": "subscription", "customer": "customer"}

_NAMING_NOTHING = (
    "billing.meter.no_meter_found",
    "invoice.upcoming",
    "customer.discount.source_changed",
    "entitlements.active_entitlement_summary.",
)
"""The types, and beginnings of types, about mirrored objects whose thin events have no `related_object`."""

_TOLD_BY_TWIN = ("customer.discount.source_changed", "entitlements.active_entitlement_summary.")
"""Those of them whose snapshot twins name one."""

ANNOUNCEMENTS = frozenset(
    {
        "customer.subscription.trial_will_end",
        "invoice.overdue",
        "invoice.sent",
        "invoice.will_be_due",
        "subscription_schedule.expiring",
    }
)
"""The types, as snapshot events have them, that need not change anything of their object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The objects that a thin event makes dirty, its own first, and the customer to whom they belong if it says so."""

    concerns: tuple[ObjectRef, ...] = ()
    customer_id: str | None = None
    nameless: bool = False  # it should name an object that is mirrored, and does not
    asks_twin: bool = False  # it names nothing, and its twin does
    of_own: bool = True  # it is about the first of them, and not about what has no id of its own


def snapshot_type(event_type: str) -> str:
    """The type of the snapshot event about the same change; a finer thin type has none, and is cut in the same way."""
    return event_type.removeprefix("v1.")


def named_by(event_type: str, related: object) -> Named:
    """What a thin event with this `related_object` names. Total: it never raises.

    Types of `v2.` are about objects of another kind, whatever these are called.
    """
    if event_type.startswith("v2."):
        return Named()
    type_ = snapshot_type(event_type)
    if not isinstance(related, Mapping):
        return Named(
            nameless=tells_of_mirrored(type_) and not type_.startswith(_NAMING_NOTHING),
            asks_twin=type_.startswith(_TOLD_BY_TWIN),
        )
    name, object_id = related.get("type"), related.get("id")
    owner = _owner(related.get("url"))
    customer_id = owner.get("customer")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None:
        fields = concerns_of(name) if isinstance(name, str) else ()
        refs = [ObjectRef(other, owner[field]) for field, other in fields if field in owner]
        return Named(concerns=tuple(refs), customer_id=customer_id, of_own=False)
    if kind.id_is_customers and kind.name != "customer":
        object_id = customer_id
    if not is_id_of(object_id, kind.name):
        return Named(nameless=not type_.startswith(_NAMING_NOTHING))
    return Named(concerns=(ObjectRef(kind.name, object_id),), customer_id=customer_id)


def _owner(url: object) -> dict[str, str]:
    """The customer or the subscription in whose address an object is, by the name of the field that would hold it."""
    if not isinstance(url, str):
        return {}
    found = {}
    for match in _OWNER.finditer(url):
        field = _FIELDS[match[1] or match[3]]
        value = unquote(match[2] or match[4])
        if is_id_of(value, field):
            found[field] = value
    return found
