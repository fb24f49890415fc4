"""The customers that the pages show: one with a history, one whose texts attack, and one that Stripe does not know."""

from sandbox import Sandbox, create_api
from tests.harness import API_KEY, NOON, Api, Body, charge, customer, event, item, listing, subscription
from tests.webhooks.api.client import Service
from tests.worker.lists.test_features import ENTITLED_PATH, entitlement, feature, summary

DAY = 86_400
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

PRICE: Body = {
    "object": "price",
    "id": "price_1",
    "product": "prod_1",
    "created": NOON,
    "livemode": False,
    "billing_scheme": "per_unit",
    "currency": "usd",
    "unit_amount": 41150,
    "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    "metadata": {},
}
PRODUCT: Body = {
    "object": "product",
    "id": "prod_1",
    "name": "Pro",
    "active": True,
    "created": NOON,
    "livemode": False,
    "metadata": {"product_id": "pro", "feature_id": "seats"},
}
ANNA = customer(name="Anna Berg", email="anna@example.com", metadata={"custom_uid": "anna-1", "plan": "pro"})
EVE = customer("cus_2", name=EVIL, email="eve@example.com", description=EVIL, metadata={EVIL[:40]: EVIL})
PERIOD: Body = {
    "trial_start": NOON,
    "trial_end": NOON + 7 * DAY,
    "items": listing([item("si_1", quantity=3)]),
    "current_period_start": NOON,
    "current_period_end": NOON + 30 * DAY,
    "metadata": {"entity_id": "team-1"},
}
PAID = [
    charge(f"ch_{currency}", currency=currency, amount=amount, amount_captured=amount)
    for currency, amount in {"usd": 123456, "jpy": 5000}.items()
]


def account() -> Api:
    """What Stripe says when it is asked."""
    api = Api(create_api(Sandbox(seed=1), [API_KEY]))
    api.put(ANNA, EVE, PRICE, PRODUCT, subscription(status="trialing", **PERIOD), *PAID)
    api.bodies[ENTITLED_PATH] = listing([entitlement("feat_reports")], url=ENTITLED_PATH)
    api.bodies["/v1/entitlements/features/feat_reports"] = feature("feat_reports")
    return api


async def live(service: Service) -> None:
    """Let the account's events come, in order."""
    harness = service.harness
    await harness.receive(
        event("product.created", PRODUCT, event_id="evt_product"),
        event("price.created", PRICE, event_id="evt_price"),
        event("customer.created", ANNA, event_id="evt_anna"),
        event("customer.created", EVE, event_id="evt_eve"),
        event(
            "customer.subscription.created",
            subscription(status="trialing", **PERIOD),
            after=1,
            event_id="evt_trial",
        ),
    )
    # Seen at Stripe before it goes on, or the trial would have left no trace.
    await service.until_record("cus_1", status="trialing", exact=True)
    harness.api.put(subscription(**PERIOD))
    await harness.receive(
        event("entitlements.active_entitlement_summary.updated", summary("cus_1", ["feat_reports"]), after=2),
        event(
            "customer.subscription.updated",
            subscription(**PERIOD),
            after=7 * DAY,
            event_id="evt_active",
            data={
                "object": subscription(**PERIOD),
                "previous_attributes": {"status": "trialing", "trial_end": NOON + 7 * DAY, "items": {}},
            },
        ),
        *(event("charge.succeeded", paid, after=8 * DAY, event_id=f"evt_{paid['id']}") for paid in PAID),
    )
    await service.until_record("cus_1", status="active", lifetime_revenue=123456)
    await service.record_of("cus_2")
    await service.put("/customers/local-1", {"email": "nobody@example.com", "name": "Local Only"})
