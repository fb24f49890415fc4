"""How products, prices and plans are shown."""

from sandbox.objects import Price, Product
from sandbox.versions import Body, Version, View


def show_product(thing: Product, shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "product",
        "active": thing.active,
        "created": thing.created,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": view.live_mode,
        "marketing_features" if shape.name >= "2024-04-10" else "features": [],
        "metadata": dict(thing.metadata),
        "name": thing.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": thing.updated,
        "url": None,
    }


def show_price(thing: Price, shape: Version, view: View) -> Body:
    recurring: Body | None = None
    if thing.interval is not None:
        recurring = {
            "interval": thing.interval,
            "interval_count": thing.interval_count,
            "meter": thing.meter,
            "trial_period_days": None,
            "usage_type": "metered" if thing.metered else "licensed",
        }
        if not shape.basil:
            recurring["aggregate_usage"] = "sum" if thing.metered else None
    return {
        "id": thing.id,
        "object": "price",
        "active": thing.active,
        "billing_scheme": "tiered" if thing.tiers else "per_unit",
        "created": thing.created,
        "currency": thing.currency,
        "custom_unit_amount": None,
        "livemode": view.live_mode,
        "lookup_key": None,
        "metadata": dict(thing.metadata),
        "nickname": thing.nickname,
        "product": thing.product,
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers_mode": thing.tiers_mode,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": None if thing.tiers else thing.unit_amount,
        "unit_amount_decimal": None if thing.tiers else str(thing.unit_amount),
    }


def show_plan(thing: Price, _shape: Version, view: View) -> Body:
    """The recurring price under its old name; both share one id."""
    return {
        "id": thing.id,
        "object": "plan",
        "active": thing.active,
        "amount": None if thing.tiers else thing.unit_amount,
        "amount_decimal": None if thing.tiers else str(thing.unit_amount),
        "billing_scheme": "tiered" if thing.tiers else "per_unit",
        "created": thing.created,
        "currency": thing.currency,
        "interval": thing.interval,
        "interval_count": thing.interval_count,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "meter": thing.meter,
        "nickname": thing.nickname,
        "product": thing.product,
        "tiers_mode": thing.tiers_mode,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "metered" if thing.metered else "licensed",
    }


def include_tiers(body: Body, _shape: Version, view: View) -> None:
    price = view.find(body["id"])
    if isinstance(price, Price) and price.tiers:
        body["tiers"] = [
            {
                "flat_amount": tier.flat_amount or None,
                "flat_amount_decimal": str(tier.flat_amount) if tier.flat_amount else None,
                "unit_amount": tier.unit_amount,
                "unit_amount_decimal": str(tier.unit_amount),
                "up_to": tier.up_to,
            }
            for tier in price.tiers
        ]
    else:
        # Requests may expand the tiers of a price that has none.
        body["tiers"] = None


def include_currency_options(body: Body, _shape: Version, _view: View) -> None:
    # Prices here are sold in their own currency only.
    body["currency_options"] = {
        body["currency"]: {
            "unit_amount": body["unit_amount"],
            "unit_amount_decimal": body["unit_amount_decimal"],
        }
    }
