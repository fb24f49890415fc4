"""How coupons and discounts are shown."""

from sandbox.objects import Coupon, Discount, Invoice, Subscription, Thing
from sandbox.versions import Body, Version, View


def show_coupon(thing: Coupon, _shape: Version, view: View) -> Body:
    percent = thing.percent_off
    name = f"{percent}% off" if percent is not None else f"{thing.amount_off} {thing.currency} off"
    return {
        "id": thing.id,
        "object": "coupon",
        "amount_off": thing.amount_off,
        "created": thing.created,
        "currency": thing.currency,
        "duration": thing.duration,
        "duration_in_months": thing.duration_in_months,
        "livemode": view.live_mode,
        "max_redemptions": None,
        "metadata": {},
        "name": name,
        "percent_off": None if percent is None else float(percent),
        "redeem_by": None,
        "times_redeemed": thing.times_redeemed,
        "valid": True,
    }


def include_applies_to(body: Body, _shape: Version, view: View) -> None:
    found = view.find(body["id"])
    if not isinstance(found, Coupon):
        raise KeyError(f"{body['id']} is no coupon")
    body["applies_to"] = {"products": list(found.applies_to)} if found.applies_to else None


def include_coupon_currencies(body: Body, _shape: Version, view: View) -> None:
    found = view.find(body["id"])
    if not isinstance(found, Coupon):
        raise KeyError(f"{body['id']} is no coupon")
    if found.currency is not None:
        own = {found.currency: found.amount_off}
        body["currency_options"] = {
            currency: {"amount_off": amount} for currency, amount in (own | found.currency_options).items()
        }
    else:
        body["currency_options"] = None


class Source(Body):
    """Where a discount comes from: names its coupon, and keeps the whole coupon for requests that expand it."""

    def __init__(self, coupon: Body) -> None:
        super().__init__(type="coupon", coupon=coupon["id"])
        self.whole = coupon


def show_discount(discount: Discount, owner: Thing | None, shape: Version, view: View) -> Body:
    whole = show_coupon(discount.coupon, shape, view)
    body: Body = {
        "id": discount.id,
        "object": "discount",
        "checkout_session": None,
        "customer": None if owner is None else owner.customer,
        "end": discount.end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "start": discount.start,
        "subscription": owner.id if isinstance(owner, Subscription) else getattr(owner, "subscription", None),
    }
    if shape.discount_source:
        body["source"] = Source(whole)
    else:
        body["coupon"] = whole
    return body


def discount_fields(owner: Subscription | Invoice, shape: Version, view: View) -> Body:
    fields: Body = {}
    if shape.single_discount:
        fields["discount"] = (
            show_discount(owner.discounts[0], owner, shape, view) if owner.discounts else None
        )
    if shape.discount_lists:
        fields["discounts"] = [discount.id for discount in owner.discounts]
    return fields
