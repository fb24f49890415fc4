"""What `make up` shows beside its living account: one of each thing that records tell of, and ever more customers."""

from collections.abc import Iterator

from sandbox.life import REMEMBERED_AFTER_LEAVING, lead_life
from sandbox.objects import Coupon, Customer, Meter, Price, Product
from sandbox.periods import DAY, HOUR, MINUTE
from sandbox.play import Sandbox
from sandbox.stories import Stage, Story
from sandbox.stories.stage import Plot

CONNECTED_ACCOUNT = "acct_1DemoNorth"
METERED_FEATURE = "api_calls"
ACME = "acme"
ACME_ENTITIES = ("acme_eu", "acme_us")
"""The customer with two workspaces, and what its subscriptions name as `entity_id`."""
FEATURES_OF = {"team": ("api",), "business": ("api", "single_sign_on", "audit_log")}
"""Features by our product id."""


def perform(sandbox: Sandbox, prices: list[Price]) -> None:
    """Put them all on stage; `prices` are what the account sells."""
    home = sandbox.home
    features = {key: home.entitlements.feature(key) for keys in FEATURES_OF.values() for key in keys}
    for product in [each for each in home.shelves["product"].rows if isinstance(each, Product)]:
        for key in FEATURES_OF.get(product.metadata.get("product_id", ""), ()):
            home.entitlements.grant(product, features[key])
    coupon = home.catalogue.coupon(percent_off=20, duration="forever", chosen_id="WELCOME20")
    meter = home.metering.meter(METERED_FEATURE)
    _begin(
        sandbox, "an_arrival", "Ever more customers come.", lambda stage: _arrivals(stage, sandbox, prices)
    )
    _begin(
        sandbox,
        "two_workspaces",
        "Acme buys for each workspace.",
        lambda stage: _two_workspaces(stage, meter),
    )
    _begin(
        sandbox, "in_euros", "Customers pay in euros, with a coupon.", lambda stage: _in_euros(stage, coupon)
    )
    _begin(sandbox, "pays_late", "A card is declined and replaced, again and again.", _pays_late)
    _begin(sandbox, "disputes", "A payment is disputed, again and again.", _disputes)
    for _ in range(3):
        _begin(sandbox, "connected", "A customer of a connected account.", _renews, CONNECTED_ACCOUNT)


def _begin(sandbox: Sandbox, name: str, sentence: str, plot: Plot, account_id: str = "") -> None:
    story = Story(name=name, sentence=sentence, covers=(), defines=(), customers=1, plot=plot)
    sandbox.begin(story, within_seconds=6 * HOUR, account_id=account_id)


def _named(stage: Stage, name: str, custom_uid: str) -> Customer:
    email = f"billing@{custom_uid}.example.com"
    return stage.account.clients.create(name, email, metadata={"custom_uid": custom_uid})


def _arrivals(stage: Stage, sandbox: Sandbox, prices: list[Price]) -> Iterator[int]:
    """Another customer every few days, who leaves for good one day and is then forgotten."""

    def visit(one: Stage) -> Iterator[int]:
        customer = one.customer()
        yield from lead_life(one, customer, prices)
        yield REMEMBERED_AFTER_LEAVING
        one.account.forget(customer.id)

    while True:
        yield stage.some_days(1, 5)
        _begin(sandbox, "a_visit", "One more customer, with a life drawn at random.", visit)


def _two_workspaces(stage: Stage, meter: Meter) -> Iterator[int]:
    """A seat price for one workspace, metered calls for the other; use comes every few hours."""
    acme = _named(stage, "Acme Tools", ACME)
    metadata = {"product_id": "workspace", "feature_id": "seats"}
    seats = stage.plan(1200, product_metadata=metadata)
    calls = stage.plan(
        2,
        meter=meter,
        product_metadata={"product_id": "calls"},
        metadata={"feature_id": METERED_FEATURE, "quota_limit": "5000"},
    )
    first, second = ACME_ENTITIES
    stage.subscribe(acme, [(seats, 5)], metadata={"entity_id": first})
    stage.subscribe(acme, [(seats, 2), (calls, 1)], metadata={"entity_id": second}, billing_mode="flexible")
    while True:
        yield stage.choices.randint(3, 9) * HOUR
        stage.account.metering.use(acme, meter, stage.choices.randint(1, 40))


def _in_euros(stage: Stage, coupon: Coupon) -> Iterator[int]:
    """Two who pay in euros: one with a coupon, one on trial before."""
    price = stage.plan(2500, currency="eur", product_metadata={"product_id": "team_eu"})
    stage.subscribe(_named(stage, "Bleu Ciel", "bleu_ciel"), price, coupon=coupon)
    yield 2 * DAY
    stage.subscribe(_named(stage, "Feine Ware", "feine_ware"), price, trial_seconds=7 * DAY)


def _pays_late(stage: Stage) -> Iterator[int]:
    """Every second week the card is declined; two days later another one pays."""
    customer = _named(stage, "Late Lantern", "late_lantern")
    price = stage.plan(700, interval="week", product_metadata={"product_id": "weekly"})
    subscription = stage.subscribe(customer, price, after_retries="past_due")
    clients, invoices = stage.account.clients, stage.account.invoices
    while True:
        clients.set_payment_method(customer, "declines")
        yield stage.past_payment(subscription)
        yield 2 * DAY
        clients.set_payment_method(customer, "good")
        for invoice in invoices.of_subscription(subscription):
            if invoice.status == "open":
                invoices.pay(invoice)
        yield stage.past_payment(subscription)


def _disputes(stage: Stage) -> Iterator[int]:
    """It buys once a fortnight; its bank takes the money back, and gives it back every second time."""
    customer = _named(stage, "Second Thoughts", "second_thoughts")
    payments = stage.account.payments
    ending = "won"
    while True:
        yield 1 * DAY
        _, charge = payments.pay_once(customer, 4900)
        yield 2 * DAY
        dispute = payments.dispute(charge)
        yield 4 * DAY
        payments.close_dispute(dispute, ending)
        ending = "lost" if ending == "won" else "won"
        yield 7 * DAY


def _renews(stage: Stage) -> Iterator[int]:
    customer = stage.customer()
    stage.subscribe(customer, stage.plan(1500, product_metadata={"product_id": "north"}))
    yield MINUTE
