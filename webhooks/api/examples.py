"""The customers that the document shows as examples."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from billing.status import Status
from db.records.full import Customer

CUSTOMER = Customer(
    uid=UUID("0a4fbd2c-7f0b-4a53-9d6f-2f1f3b6c8e11"),
    custom_uid="user_123",
    stripe_customer_id="cus_QuietLake01",
    account_id="",
    live_mode=True,
    name="Ada Lovelace",
    email="ada@example.com",
    description=None,
    fingerprint=None,
    metadata={"company": "Analytical Engines"},
    send_email_receipts=True,
    status=Status.ACTIVE,
    has_access=True,
    product_id="pro",
    product_version_number=2,
    stripe_product_id="prod_1",
    stripe_price_id="price_1",
    stripe_subscription_id="sub_1",
    quantity=1,
    lifetime_revenue=24000,
    revenue_currency="usd",
    renewal_number=11,
    is_trial=False,
    trial_end=None,
    sandbox_end=None,
    subscription_date=datetime(2026, 1, 31, 12, tzinfo=UTC),
    first_seen=datetime(2026, 1, 31, 11, 58, tzinfo=UTC),
    last_seen=datetime(2026, 1, 31, 12, tzinfo=UTC),
    exact=True,
    change=4711,
    created_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    updated_at=datetime(2026, 11, 30, 12, tzinfo=UTC),
    deleted_at=None,
)

UNLINKED = replace(
    CUSTOMER,
    stripe_customer_id=None,
    status=None,
    has_access=False,
    product_id=None,
    product_version_number=None,
    stripe_product_id=None,
    stripe_price_id=None,
    stripe_subscription_id=None,
    quantity=None,
    lifetime_revenue=0,
    revenue_currency=None,
    renewal_number=0,
    subscription_date=None,
    last_seen=None,
    change=4712,
)
"""One that Stripe does not know."""

GRANTED = replace(
    UNLINKED,
    has_access=True,
    product_id="pro",
    sandbox_end=datetime(2026, 12, 14, 12, tzinfo=UTC),
    change=4713,
)
"""The same, with a grant."""
