"""Who a customer is, what exactly is subscribed to, and the lists inside objects that are longer than they look."""

from collections.abc import Iterator
from typing import Any

from sandbox.objects import Customer
from sandbox.periods import DAY, instant
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(defines=("custom_uid:metadata",))
def uid_in_metadata(stage: Stage) -> Iterator[int]:
    """The customer's metadata names a custom_uid, and later another one."""
    uid = f"user-{stage.world.seed}.{stage.number}~a"
    ada = stage.customer(metadata={"custom_uid": uid, "team": "north"})
    stage.expect(ada, custom_uid=uid, metadata={"custom_uid": uid, "team": "north"})
    yield 2 * DAY
    stage.account.clients.update(ada, metadata={"custom_uid": uid + "2"})
    stage.expect(ada, custom_uid=uid + "2", metadata={"custom_uid": uid + "2"})


@story(covers=("F118",), customers=3)
def on_a_test_clock(stage: Stage) -> Iterator[int]:
    """Two customers on a test clock, which lists leave out, and one on none; sometimes the clock is deleted with them.

    In live mode there is no such clock, and they are customers like any other.
    """
    clients = stage.account.clients
    clock = None if stage.account.live_mode else clients.clock(f"Clock {stage.number}")
    jan, kim, max_ = stage.customer(clock=clock), stage.customer(clock=clock), stage.customer()
    subs = [stage.subscribe(each, stage.plan(1400)) for each in (jan, kim, max_)]
    yield stage.past_payment(subs[0])
    stage.account.subscriptions.end(subs[1])
    stage.expect(jan, status="active", live_mode=stage.account.live_mode, net={"usd": 2800}, renewal_number=1)
    stage.expect(kim, status="ended", net={"usd": 2800})
    if clock is not None and stage.number % 3 == 2:
        yield 1 * DAY
        clients.delete_clock(clock)
        stage.require(jan.deleted_at is not None, "the customers on the clock are deleted with it")
        stage.expect(max_, status="active", net={"usd": 2800})


@story()
def price_for_one(stage: Stage) -> Iterator[int]:
    """A price created for one customer within a purchase: no list shows it, and it counts like any other."""
    ida = stage.customer()
    sub = stage.subscribe(ida, stage.plan(3100, inline=True))
    stage.expect(ida, subscription=sub, net={"usd": 3100}, mrr={"usd": 3100})
    yield stage.past_payment(sub)
    stage.expect(ida, net={"usd": 6200}, renewal_number=1)


@story(defines=("custom_uid:checkout", "last_seen:checkout"))
def uid_from_checkout(stage: Stage) -> Iterator[int]:
    """A completed Checkout names a custom_uid; an open one does not, and a later one takes over."""
    ben = stage.customer()
    uid = f"buyer_{stage.world.seed}_{stage.number}"
    session = stage.account.clients.open_checkout(
        ben, mode="subscription", amount=2000, client_reference_id=uid
    )
    stage.expect(ben, custom_uid=None, last_seen=None)
    yield 4 * 60
    sub = stage.subscribe(ben, stage.plan(2000))
    stage.account.clients.complete_checkout(session, subscription=sub)
    stage.expect(ben, custom_uid=uid, last_seen=instant(session.created))
    yield stage.past_payment(sub)
    stage.expect(ben, last_seen=instant(session.created), renewal_number=1)
    again = stage.account.clients.open_checkout(
        ben, mode="payment", amount=300, client_reference_id=uid + "_b"
    )
    intent, _ = stage.account.payments.pay_once(ben, 300)
    stage.account.clients.complete_checkout(again, intent=intent)
    stage.expect(ben, custom_uid=uid + "_b", last_seen=instant(again.created))


@story(defines=("custom_uid:metadata_before_checkout",))
def uid_from_both(stage: Stage) -> Iterator[int]:
    """Metadata and Checkout name different uids: metadata wins."""
    uid = f"meta-{stage.world.seed}-{stage.number}"
    chi = stage.customer(metadata={"custom_uid": uid})
    session = stage.account.clients.open_checkout(
        chi, mode="payment", amount=900, client_reference_id=f"ref-{stage.world.seed}-{stage.number}"
    )
    yield 60
    intent, _ = stage.account.payments.pay_once(chi, 900)
    stage.account.clients.complete_checkout(session, intent=intent)
    stage.expect(chi, custom_uid=uid)


@story(defines=("custom_uid:page", "custom_uid:rank"), customers=4)
def uid_of_a_payment_link(stage: Stage) -> Iterator[int]:
    """A buyer writes names of others behind a payment link: it takes none of them, however early the buyer came, and
    has only a name that nobody else was given.
    """
    prefix = f"{stage.world.seed}-{stage.number}"
    clients = stage.account.clients

    def follow(buyer: Customer, reference: str) -> None:
        link = f"plink_{buyer.id[4:]}"
        session = clients.open_checkout(
            buyer, mode="payment", amount=700, client_reference_id=reference, payment_link=link
        )
        intent, _ = stage.account.payments.pay_once(buyer, 700)
        clients.complete_checkout(session, intent=intent)

    mallory = stage.customer()
    follow(mallory, f"alone-{prefix}")
    stage.expect(mallory, custom_uid=f"alone-{prefix}")
    yield 1 * DAY
    named = stage.customer(metadata={"custom_uid": f"named-{prefix}"})
    follow(mallory, f"named-{prefix}")
    stage.expect(named, custom_uid=f"named-{prefix}")
    stage.expect(mallory, custom_uid=None)
    yield 1 * DAY
    buyer = stage.customer()
    session = clients.open_checkout(buyer, mode="payment", amount=900, client_reference_id=f"bought-{prefix}")
    intent, _ = stage.account.payments.pay_once(buyer, 900)
    clients.complete_checkout(session, intent=intent)
    follow(mallory, f"bought-{prefix}")
    stage.expect(buyer, custom_uid=f"bought-{prefix}")
    stage.expect(mallory, custom_uid=None)
    yield 1 * DAY
    # Of her own name, too, the company's word counts; and the later customer's metadata take the buyer's from it.
    follow(buyer, f"else-{prefix}")
    stage.expect(buyer, custom_uid=f"bought-{prefix}")
    later = stage.customer(metadata={"custom_uid": f"bought-{prefix}"})
    stage.expect(later, custom_uid=f"bought-{prefix}")
    stage.expect(buyer, custom_uid=None)


@story(defines=("custom_uid:invalid",), customers=3)
def uids_that_are_none(stage: Stage) -> Iterator[int]:
    """A uid that does not fit into a URL is ignored."""
    for bad in ("asdfj45 345345345 %%%", "%%%%", "!!#123. 45"):
        stage.expect(stage.customer(metadata={"custom_uid": bad}), custom_uid=None)
        yield 3600


@story(defines=("custom_uid:collision", "custom_uid:collision_released"), customers=2)
def uid_claimed_twice(stage: Stage) -> Iterator[int]:
    """Two customers claim one custom_uid: the older has it, until it gives it up."""
    uid = f"shared-{stage.world.seed}-{stage.number}"
    older = stage.customer(metadata={"custom_uid": uid})
    yield 1 * DAY
    younger = stage.customer(metadata={"custom_uid": uid})
    stage.expect(older, custom_uid=uid)
    stage.expect(younger, custom_uid=None)
    if stage.number % 2:
        yield 1 * DAY
        stage.account.clients.update(older, metadata={"custom_uid": uid + "-new"})
        stage.expect(older, custom_uid=uid + "-new")
        stage.expect(younger, custom_uid=uid)


@story(defines=("custom_uid:collision_tie",), customers=2)
def uid_claimed_twice_in_one_second(stage: Stage) -> Iterator[int]:
    """Two customers born in one second claim one custom_uid: the smaller id has it."""
    uid = f"twins-{stage.world.seed}-{stage.number}"
    twins = [stage.customer(metadata={"custom_uid": uid}) for _ in range(2)]
    smaller, greater = sorted(twins, key=lambda entry: entry.id.encode())
    stage.expect(smaller, custom_uid=uid)
    stage.expect(greater, custom_uid=None)
    yield 1 * DAY


@story(defines=("product_id:metadata", "version:price_metadata"))
def product_named_by_us(stage: Stage) -> Iterator[int]:
    """Product and price carry our own id and version; both are edited later."""
    dora = stage.customer()
    price = stage.plan(
        1000, metadata={"version": "7"}, product_metadata={"product_id": "pro-plan", "version": "3"}
    )
    stage.subscribe(dora, price)
    stage.expect(dora, product_id="pro-plan", product_version_number=7, stripe_product_id=price.product)
    yield 2 * DAY
    product = stage.account.product(price.product)
    stage.account.catalogue.edit_product(product, metadata={"product_id": "pro-plan-plus", "version": "3"})
    stage.expect(dora, product_id="pro-plan-plus", product_version_number=7)


@story(defines=("version:product_metadata", "version:not_a_number", "product_id:stripe"))
def version_of_the_product(stage: Stage) -> Iterator[int]:
    """The price's version is no number, the product's is."""
    emil = stage.customer()
    price = stage.plan(1000, metadata={"version": "summer"}, product_metadata={"version": "12"})
    stage.subscribe(emil, price)
    stage.expect(emil, product_version_number=12, product_id=price.product)
    yield 1 * DAY


@story(covers=("F115",), defines=("version:rank", "product_id:stripe"))
def version_by_rank(stage: Stage) -> Iterator[int]:
    """No version is given: the third recurring price of a product is version 3, also once it is archived."""
    fay = stage.customer()
    catalogue = stage.account.catalogue
    product = catalogue.product("Ranked")
    catalogue.price(product, 500)
    yield 3600
    catalogue.price(product, 99, interval=None)
    catalogue.price(product, 700)
    yield 3600
    third = catalogue.price(product, 900)
    stage.subscribe(fay, third)
    stage.expect(fay, product_version_number=3, product_id=product.id)
    yield 3600
    catalogue.price(product, 1100)
    catalogue.archive(third)
    catalogue.edit_product(product, name="Ranked, renamed")
    stage.expect(fay, product_version_number=3, status="active")


@story(covers=("F108",), defines=("items:beyond_ten", "options", "quantity:first_item"))
def many_items(stage: Stage) -> Iterator[int]:
    """A subscription with 25 items: payloads show ten, the record has all of them."""
    gus = stage.customer()
    plans = [(stage.plan(100 + n, metadata={"feature_id": f"feature_{n % 3}"}), 1 + n % 4) for n in range(25)]
    sub = stage.subscribe(gus, plans)
    stage.expect(gus, quantity=1, stripe_price_id=plans[0][0].id, product_id=plans[0][0].product)
    expected = stage.truth_of(gus)
    stage.require(len(expected.products) == 25, "one row per product")
    yield 5 * DAY
    stage.account.subscriptions.remove_item(sub)
    stage.require(len(stage.truth_of(gus).products) == 24, "the last product is gone")


@story(covers=("F114",), defines=("options", "products:summed", "products:subscription_ids"))
def one_product_many_ways(stage: Stage) -> Iterator[int]:
    """Two items of one product are summed, and two subscriptions of it are both named."""
    hana = stage.customer()
    catalogue = stage.account.catalogue
    product = catalogue.product("Seats", metadata={"feature_id": "seats"})
    first, second = (
        catalogue.price(product, 300),
        catalogue.price(product, 500, metadata={"feature_id": "vip"}),
    )
    a = stage.subscribe(hana, [(first, 3), (second, 2)])
    yield 2 * DAY
    b = stage.subscribe(hana, [(first, 10)])
    row = next(row for row in stage.truth_of(hana).products if row.stripe_subscription_id == a.id)
    stage.require(
        (row.quantity, row.options, row.subscription_ids) == (5, {"seats": 3, "vip": 2}, (a.id, b.id)),
        "summed over both items, named by both subscriptions",
    )
    stage.expect(hana, quantity=10, subscription=b)


@story(defines=("options", "items:added"))
def item_added(stage: Stage) -> Iterator[int]:
    """Another price joins a running subscription: one more product, the first item still speaks."""
    ida = stage.customer()
    first = stage.plan(1000)
    sub = stage.subscribe(ida, [(first, 2)])
    yield 6 * DAY
    extra = stage.plan(400, metadata={"feature_id": "extra"})
    stage.account.subscriptions.add_item(sub, extra, 3)
    stage.expect(ida, quantity=2, stripe_price_id=first.id)
    options = {row.stripe_product_id: row.options for row in stage.truth_of(ida).products}
    stage.require(
        options == {first.product: {}, extra.product: {"extra": 3}}, "the new item has options of its own"
    )
    yield stage.past_payment(sub)
    stage.expect(ida, renewal_number=1, net={"usd": 2000 + 2000 + 1200})


@story(covers=("F113",), defines=("quantity:changed",))
def seats_added_without_invoice(stage: Stage) -> Iterator[int]:
    """More seats, invoiced with the next cycle: the quantity changes at once, the money later."""
    jan = stage.customer()
    sub = stage.subscribe(jan, [(stage.plan(1000), 1)])
    yield stage.until(sub.items[0].period_start + (sub.items[0].period_end - sub.items[0].period_start) // 2)
    stage.account.subscriptions.set_quantity(sub, 3, invoices_now=False)
    stage.expect(jan, quantity=3, net={"usd": 1000})
    yield stage.past_payment(sub)
    stage.expect(jan, quantity=3, renewal_number=1, net={"usd": 1000 + 3000 + 1000})


@story(covers=("F113",), defines=("quantity:pending",))
def seats_wait_for_payment(stage: Stage) -> Iterator[int]:
    """More seats on condition that they are paid: they come with the payment."""
    kim = stage.customer()
    sub = stage.subscribe(kim, stage.plan(1000))
    yield 3 * DAY
    kim.payment_method = "needs_3ds"
    invoice = stage.account.subscriptions.request_quantity(sub, 5)
    stage.expect(kim, quantity=1, status="active")
    yield 30 * 60
    kim.payment_method = "good"
    stage.account.invoices.pay(invoice)
    stage.expect(kim, quantity=5, status="active", renewal_number=0)


@story(covers=("F113",), defines=("quantity:pending",))
def seats_never_paid(stage: Stage) -> Iterator[int]:
    """More seats on condition that they are paid: they are not, and nothing changes."""
    lea = stage.customer()
    sub = stage.subscribe(lea, stage.plan(1000))
    yield 3 * DAY
    lea.payment_method = "needs_3ds"
    stage.account.subscriptions.request_quantity(sub, 5)
    yield 24 * 3600
    lea.payment_method = "good"
    stage.expect(lea, quantity=1, status="active", net={"usd": 1000})


@story(defines=("products:entity", "name", "email", "description"))
def account_details(stage: Stage) -> Iterator[int]:
    """Names are edited, and the subscription's metadata names an entity and an external id."""
    max_ = stage.customer()
    sub = stage.subscribe(max_, stage.plan(1000), metadata={"entity_id": "workspace-1"})
    stage.expect(max_, description="account details")
    yield 1 * DAY
    stage.account.clients.update(max_, name="Maxima Ünal", email=f"maxima.{stage.number}@example.com")
    stage.account.subscriptions.edit_metadata(sub, {"entity_id": "workspace-2", "external_id": "crm-9"})
    stage.expect(max_, name="Maxima Ünal")
    row = stage.truth_of(max_).products[0]
    stage.require(
        (row.entity_id, row.external_id) == ("workspace-2", "crm-9"), "the metadata as it was edited"
    )


@story(defines=("entities",))
def two_workspaces(stage: Stage) -> Iterator[int]:
    """Two subscriptions are for one workspace and a third is for another; the latest says what they are called."""
    noa = stage.customer()
    first = stage.now
    stage.subscribe(
        noa,
        stage.plan(1000),
        metadata={"entity_id": "ws-1", "entity_name": "Lab", "entity_type": "workspace"},
    )
    yield 1 * DAY
    stage.subscribe(noa, stage.plan(500), metadata={"entity_id": "ws-1", "entity_name": "Laboratory"})
    stage.subscribe(noa, stage.plan(700), metadata={"entity_id": "ws-2"})
    shown = [(each.id, each.type, each.name, each.created_at) for each in stage.truth_of(noa).entities]
    stage.require(
        shown
        == [
            ("ws-1", "workspace", "Laboratory", instant(first)),
            ("ws-2", None, None, instant(stage.now)),
        ],
        "two workspaces",
    )


FAR_FUTURE = 4_000_000_000
"""In the year 2096: the grant is running by any clock."""


@story(covers=("C62", "F124"), defines=("grant:running", "grant:outranked"))
def sandbox_then_real(stage: Stage) -> Iterator[int]:
    """A grant gives access; a real subscription outranks it while it lives, and does not end the grant."""
    ada = stage.customer(
        metadata={"sandbox_end": str(FAR_FUTURE), "sandbox_product_id": f"playground-{stage.number}"}
    )
    granted: dict[str, Any] = {"sandbox_end": instant(FAR_FUTURE), "has_access": True}
    stage.expect(ada, status=None, product_id=f"playground-{stage.number}", **granted)
    yield 3 * DAY
    price = stage.plan(2000)
    sub = stage.subscribe(ada, price)
    stage.expect(ada, status="active", product_id=price.product, product_version_number=1, **granted)
    yield 2 * DAY
    stage.account.subscriptions.end(sub)
    # Ended is ended: the grant gives access again, and no status.
    stage.expect(ada, status="ended", product_id=f"playground-{stage.number}", **granted)
    stage.expect(ada, subscription=sub, net={"usd": 2000}, mrr={})


@story(covers=("C62",), defines=("grant:over",))
def sandbox_taken_back(stage: Stage) -> Iterator[int]:
    """A grant, written as a date, is cut short by another date: it is over, and the record still shows it."""
    ben = stage.customer(metadata={"sandbox_end": instant(FAR_FUTURE).isoformat()})
    stage.expect(ben, status=None, has_access=True, product_id=None, sandbox_end=instant(FAR_FUTURE))
    yield 2 * DAY
    over = instant(stage.now - 3600)
    stage.account.clients.update(ben, metadata={"sandbox_end": over.isoformat()})
    stage.expect(ben, status=None, has_access=False, product_id=None, sandbox_end=over)


@story(covers=("C62",), defines=("grant:by_subscription", "grant:outranked"))
def sandbox_by_subscription(stage: Stage) -> Iterator[int]:
    """A subscription's metadata grant access for when it is over; text that is no moment grants nothing."""
    chi = stage.customer(metadata={"sandbox_end": "soon"})
    stage.expect(chi, has_access=False, sandbox_end=None)
    yield 1 * DAY
    metadata = {"sandbox_end": str(FAR_FUTURE), "sandbox_product_id": "afterwards"}
    sub = stage.subscribe(chi, stage.plan(800), metadata=metadata, after_retries="unpaid")
    stage.expect(chi, status="active", sandbox_end=instant(FAR_FUTURE), product_id=stage.product_of(sub))
    yield 1 * DAY
    stage.account.subscriptions.pause(sub)
    # It lives and gives no access: the grant does not replace it.
    stage.expect(chi, status="past_due", has_access=False, product_id=stage.product_of(sub))
    yield 1 * DAY
    stage.account.subscriptions.end(sub)
    stage.expect(chi, status="ended", has_access=True, product_id="afterwards")
