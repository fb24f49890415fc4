"""The parts of a record: the tables of rows that are derived with a customer's record and replaced with it.

A part is one entry here, a dataclass with a field of `billing.record.Derived`, and a migration. Its dataclass has
`customer_uid`, `account_id`, `live_mode` and `stripe_customer_id`. Everything else follows from the entry: how rows are
written and removed, what an audit compares, what a refresh shows, and what is left of a forgotten customer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from billing.entities import CustomerEntity
from billing.features import CustomerFeature
from billing.mrr import CustomerMrr
from billing.products import CustomerProduct
from billing.record import Derived
from billing.revenue import Revenue
from db.columns import Column, columns_of


@dataclass(frozen=True, kw_only=True)
class RecordPart:
    """One table of parts. Names of columns are those of the dataclass."""

    derived: str
    """The field of `Derived` that holds the rows."""
    table: str
    row: type
    key: tuple[str, ...]
    """The table's primary key."""
    identity: tuple[str, ...]
    """Columns that identify a row among those of all customers, the same in each derivation."""
    shown_as: str
    """The field of the full record, as a refresh answers it."""
    order: tuple[str, ...]
    """The columns by which the full record lists the rows."""
    view: str | None = None
    """What readers see in place of the table, if that is a view."""
    kept_when_forgotten: bool
    """Whether the rows of a forgotten customer stay, without its uid: the books need money, times and Stripe's ids."""
    personal: tuple[str, ...] = ()
    """Columns that are emptied in rows that stay."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in the order of the fields."""
        return columns_of(self.row)

    @property
    def relation(self) -> str:
        """The table or view that readers see."""
        return self.view or self.table

    def rows_of(self, derived: Derived) -> tuple[object, ...]:
        """The rows that were derived of a customer."""
        rows: tuple[object, ...] = getattr(derived, self.derived)
        return rows

    def identity_of(self, row: object) -> tuple[object, ...]:
        """What identifies this row."""
        return tuple(getattr(row, name) for name in self.identity)


_PARTS = (
    RecordPart(
        derived="products",
        table="billing.customer_products",
        row=CustomerProduct,
        key=("account_id", "live_mode", "stripe_subscription_id", "stripe_product_id"),
        identity=("id",),
        shown_as="customer_products",
        order=(
            "starts_at",
            "stripe_subscription_id",
            "stripe_product_id",
        ),
        kept_when_forgotten=True,
        personal=("external_id", "entity_id"),
    ),
    RecordPart(
        derived="revenue",
        table="billing.customer_revenue",
        row=Revenue,
        key=("account_id", "live_mode", "stripe_customer_id", "currency"),
        identity=("customer_uid", "currency"),
        shown_as="revenue",
        order=("currency",),
        kept_when_forgotten=True,
    ),
    RecordPart(
        derived="features",
        table="billing.customer_features",
        row=CustomerFeature,
        key=("account_id", "live_mode", "stripe_customer_id", "feature_id"),
        identity=("customer_uid", "feature_id"),
        shown_as="features",
        order=("feature_id",),
        kept_when_forgotten=False,
    ),
    RecordPart(
        derived="entities",
        table="billing.subscription_entities",
        row=CustomerEntity,
        key=("account_id", "live_mode", "stripe_customer_id", "id"),
        identity=("uid",),
        shown_as="entities",
        order=("id",),
        view="billing.entities",
        kept_when_forgotten=False,
    ),
    RecordPart(
        derived="mrr",
        table="billing.customer_mrr",
        row=CustomerMrr,
        key=("account_id", "live_mode", "stripe_customer_id", "currency"),
        identity=("customer_uid", "currency"),
        shown_as="mrr",
        order=("currency",),
        kept_when_forgotten=True,
    ),
)

RECORD_PARTS: Mapping[str, RecordPart] = {part.derived: part for part in _PARTS}
"""Every part, by its field of `Derived`, in the order in which parts are written."""

TABLES_BY_UID = (
    *(part.table for part in _PARTS),
    "billing.customer_usage",
    "billing.status_changes",
    "billing.mrr_changes",
)
"""The tables whose rows belong to a record by `customer_uid`."""
