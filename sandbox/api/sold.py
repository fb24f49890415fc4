"""POST /v1/checkout/sessions and /v1/billing_portal/sessions: pages that a customer is sent to."""

import re

import msgspec

from sandbox import shapes
from sandbox.account import Account
from sandbox.api.parameters import integer
from sandbox.api.reads import parse_parameters
from sandbox.objects import Customer, Price
from sandbox.periods import DAY
from sandbox.refusals import RefusedError, missing_parameter
from sandbox.versions import Version

_TAKEN = re.compile(
    r"mode|customer|customer_email|customer_creation|client_reference_id|success_url|cancel_url"
    r"|line_items\[0\]\[(price|quantity)\]|subscription_data\[trial_period_days\]"
    r"|((subscription_data|payment_intent_data)\[metadata\]|metadata)\[[^\[\]]{1,40}\]"
)
_URL = re.compile(r"https?://[^\s]+")


def open_session(account: Account, shape: Version, form: bytes) -> bytes:
    """A Checkout session. `account.checkouts.pay` is the buyer."""
    given = _given(form, _TAKEN)
    for name in ("mode", "success_url", "line_items[0][price]"):
        if name not in given:
            raise missing_parameter(name)
    for name in ("success_url", "cancel_url"):
        if name in given and not _URL.fullmatch(given[name]):
            raise RefusedError(400, "Not a valid URL", code="url_invalid", param=name)
    price = account.find(given["line_items[0][price]"])
    if not isinstance(price, Price):
        raise RefusedError(
            400,
            f"No such price: '{given['line_items[0][price]']}'",
            code="resource_missing",
            param="line_items[0][price]",
        )
    if not price.active:
        raise RefusedError(400, "The price specified is inactive.", param="line_items[0][price]")
    mode = given["mode"]
    if mode == "payment" and price.interval is not None:
        raise RefusedError(400, "You specified `payment` mode but passed a recurring price.", param="mode")
    if mode == "subscription" and price.interval is None:
        raise RefusedError(
            400, "You must provide at least one recurring price in `subscription` mode.", param="mode"
        )
    if "customer_creation" in given and (mode != "payment" or "customer" in given):
        raise RefusedError(
            400, "`customer_creation` can only be used in `payment` mode.", param="customer_creation"
        )
    if "customer" in given and "customer_email" in given:
        raise RefusedError(
            400, "You may only specify one of these parameters: customer, customer_email.", param="customer"
        )
    customer = _customer(account, given["customer"]) if "customer" in given else None
    trial_days = integer(given, "subscription_data[trial_period_days]") or 0
    session = account.checkouts.open(
        price,
        None if price.metered else integer(given, "line_items[0][quantity]") or 1,
        mode=mode,
        customer=customer,
        email=given.get("customer_email"),
        makes_customer=mode == "subscription" or given.get("customer_creation") == "always",
        client_reference_id=given.get("client_reference_id"),
        metadata=_metadata(given, "metadata"),
        sold_metadata=_metadata(given, "subscription_data[metadata]"),
        trial_seconds=trial_days * DAY,
    )
    body = shapes.render(session, shape, account)
    body |= {
        "success_url": given["success_url"],
        "cancel_url": given.get("cancel_url"),
        "customer_email": given.get("customer_email"),
        "url": f"https://checkout.stripe.com/c/pay/{session.id}",
    }
    return msgspec.json.encode(body)


def open_portal(account: Account, _: Version, form: bytes) -> bytes:
    """A session of the billing portal."""
    given = _given(form, re.compile("customer|return_url"))
    if "customer" not in given:
        raise missing_parameter("customer")
    customer = _customer(account, given["customer"])
    session_id = account.new_id("bps_")
    return msgspec.json.encode(
        {
            "object": "billing_portal.session",
            "id": session_id,
            "configuration": "bpc_sandbox",
            "created": account.now,
            "customer": customer.id,
            "flow": None,
            "livemode": account.live_mode,
            "locale": None,
            "on_behalf_of": None,
            "return_url": given.get("return_url"),
            "url": f"https://billing.stripe.com/p/session/{session_id}",
        }
    )


def _given(form: bytes, taken: re.Pattern[str]) -> dict[str, str]:
    given = dict(parse_parameters(form))
    for name in given:
        if not taken.fullmatch(name):
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
    return given


def _customer(account: Account, customer_id: str) -> Customer:
    customer = account.find(customer_id)
    if not isinstance(customer, Customer) or customer.deleted_at is not None:
        raise RefusedError(
            400, f"No such customer: '{customer_id}'", code="resource_missing", param="customer"
        )
    return customer


def _metadata(given: dict[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix)[1:-1]: value
        for name, value in given.items()
        if name.startswith(f"{prefix}[")
    }
