"""The event types of Stripe that this system acts on, and which objects each of them marks.

The object that an event carries follows from Stripe's naming, written down here; what that object marks comes from the
registry.
"""

from collections.abc import Iterator, Mapping

from billing.kinds.registry import concerned, kind_of

# The object that the events carry, the beginning of their types, and their ends.
_FAMILIES: tuple[tuple[str, str, str], ...] = (
    ("customer", "customer", "created updated deleted"),
    (
        "subscription",
        "customer.subscription",
        "created updated deleted paused resumed trial_will_end pending_update_applied pending_update_expired",
    ),
    ("discount", "customer.discount", "created updated deleted"),
    (
        "subscription_schedule",
        "subscription_schedule",
        "created updated released canceled completed aborted expiring",
    ),
    (
        "checkout.session",
        "checkout.session",
        "completed async_payment_succeeded async_payment_failed expired",
    ),
    # invoice.upcoming is missing: it is about an invoice that does not exist yet.
    ("invoice", "invoice", "created updated finalized finalization_failed sent will_be_due overdue deleted"),
    (
        "invoice",
        "invoice",
        "payment_action_required payment_attempt_required payment_failed payment_succeeded",
    ),
    ("invoice", "invoice", "paid overpaid marked_uncollectible voided"),
    ("invoice_payment", "invoice_payment", "paid"),
    ("invoiceitem", "invoiceitem", "created deleted"),
    (
        "payment_intent",
        "payment_intent",
        "created processing requires_action amount_capturable_updated partially_funded",
    ),
    ("payment_intent", "payment_intent", "payment_failed canceled succeeded"),
    ("charge", "charge", "pending succeeded failed captured updated expired refunded"),
    ("refund", "charge.refund", "updated"),
    ("refund", "refund", "created updated failed"),
    ("dispute", "charge.dispute", "created updated funds_withdrawn funds_reinstated closed"),
    ("credit_note", "credit_note", "created updated voided"),
    ("product", "product", "created updated deleted"),
    ("price", "price", "created updated deleted"),
    ("plan", "plan", "created updated deleted"),
    ("coupon", "coupon", "created updated deleted"),
    ("payment_method", "payment_method", "attached updated automatically_updated detached"),
    ("setup_intent", "setup_intent", "created requires_action setup_failed canceled succeeded"),
    ("tax_id", "customer.tax_id", "created updated deleted"),
    ("review", "review", "opened closed"),
    ("radar.early_fraud_warning", "radar.early_fraud_warning", "created updated"),
    ("payout", "payout", "created updated paid failed canceled reconciliation_completed"),
    (
        "entitlements.active_entitlement_summary",
        "entitlements.active_entitlement_summary",
        "updated",
    ),
    ("billing.meter", "billing.meter", "created updated deactivated reactivated"),
)

_OBJECTS: Mapping[str, str] = {
    f"{beginning}.{ending}": carried
    for carried, beginning, endings in _FAMILIES
    for ending in endings.split()
}

EVENT_TYPES: tuple[str, ...] = tuple(_OBJECTS)
"""Every type that marks something, grouped by the object that its events carry."""


class _Everything(Mapping[str, object]):
    """An object's body in which every field names something, so that the registry gives everything that it looks at."""

    def __init__(self, carried: str) -> None:
        self._carried = carried

    def __getitem__(self, field: str) -> object:
        return self._carried if field == "object" else "named"

    def __iter__(self) -> Iterator[str]:
        return iter(("object",))

    def __len__(self) -> int:
        return 1


def marked_by(event_type: str) -> tuple[str, ...]:
    """The kinds of objects that an event of this type may mark, its own first; none for a type we do not act on.

    A thin event has the name of its snapshot twin after `v1.`, or a finer one. It marks only the object that it names;
    what else it concerns is marked once that is read.
    """
    carried = _carried_by(event_type)
    if carried is None:
        return ()
    own = kind_of(carried)
    if event_type.startswith("v1.") and carried != "discount":
        return () if own is None else (own.name,)
    kinds = dict.fromkeys(ref.kind for ref in concerned(event_type, _Everything(carried)))
    return tuple(kinds)


def _carried_by(event_type: str) -> str | None:
    """The object that events of this type carry, or name; None for a type that we do not act on."""
    name = event_type.removeprefix("v1.")
    if name == event_type or name in _OBJECTS:
        return _OBJECTS.get(name)
    families = {beginning: carried for carried, beginning, _ in _FAMILIES if name.startswith(f"{beginning}.")}
    return families[max(families, key=len)] if families and name != "invoice.upcoming" else None


def is_needed(event_type: str) -> bool:
    """Whether the event carries an object on which records depend."""
    kind = kind_of(_OBJECTS.get(event_type, ""))
    return kind is not None and kind.confirmed_by == "reads"


def is_mirrored_only(event_type: str) -> bool:
    """Whether the event carries an object that is mirrored, and on which no record depends."""
    kind = kind_of(_OBJECTS.get(event_type, ""))
    return kind is not None and kind.confirmed_by == "lists"
