"""Which columns a backfill follows to objects that no list held."""

from billing.kinds.registry import fetched_references
from db.sync.coverage import MARK_REFERENCES

FOLLOWED = {
    "active_entitlement.customer_id": "customer",
    "active_entitlement.feature_id": "feature",
    "active_entitlement_summary.customer_id": "customer",
    "charge.customer_id": "customer",
    "charge.invoice_id": "invoice",
    "checkout_session.customer_id": "customer",
    "checkout_session.invoice_id": "invoice",
    "checkout_session.subscription_id": "subscription",
    "credit_note.customer_id": "customer",
    "credit_note.invoice_id": "invoice",
    "dispute.charge_id": "charge",
    "invoice.customer_id": "customer",
    "invoice.subscription_id": "subscription",
    "invoice_payment.charge_id": "charge",
    "invoice_payment.invoice_id": "invoice",
    "price.meter_id": "meter",
    "price.product_id": "product",
    "refund.charge_id": "charge",
    "subscription.customer_id": "customer",
    "subscription.latest_invoice_id": "invoice",
    "subscription.schedule_id": "subscription_schedule",
    "subscription_item.price_id": "price",
    "subscription_item.product_id": "product",
    "subscription_item.subscription_id": "subscription",
    "subscription_schedule.customer_id": "customer",
    "subscription_schedule.released_subscription_id": "subscription",
    "subscription_schedule.subscription_id": "subscription",
    "subscription_schedule_item.price_id": "price",
    "subscription_schedule_item.schedule_id": "subscription_schedule",
}
"""Column -> the kind that it names."""


def test_followed_columns() -> None:
    """The declared references, each with its statement; a new one must be added here on purpose."""
    assert FOLLOWED == {f"{each.holder}.{each.column}": each.kind for each in fetched_references()}
    assert [*FOLLOWED] == [*MARK_REFERENCES]
    for column, kind in FOLLOWED.items():
        assert f"select $1, $2, '{kind}', id, customer_id" in MARK_REFERENCES[column]
