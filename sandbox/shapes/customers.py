"""How customers are shown, with their test clocks, cards, bank accounts and tax ids."""

from sandbox.objects import Clock, Customer, PaymentMethod, SetupIntent, TaxId
from sandbox.periods import DAY
from sandbox.versions import Body, Version, View, cut_listing

NOWHERE: Body = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def show_customer(thing: Customer, shape: Version, view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "customer",
        "address": None,
        "balance": thing.balance,
        "created": thing.created,
        "currency": thing.currency,
        "default_source": None,
        "delinquent": thing.delinquent,
        "description": thing.description,
        "discount": None,
        "email": thing.email,
        "invoice_prefix": thing.id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": thing.default_payment_method,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "name": thing.name,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": thing.test_clock,
    }
    if shape.endive:
        body["customer_account"] = None
    return body


def show_deleted_customer(customer_id: str) -> Body:
    return {"id": customer_id, "object": "customer", "deleted": True}


def show_clock(thing: Clock, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "test_helpers.test_clock",
        "created": thing.created,
        "deletes_after": thing.created + 30 * DAY,
        "frozen_time": thing.frozen_time,
        "livemode": view.live_mode,
        "name": thing.name,
        "status": "ready",
        "status_details": {},
    }


def clock_of(customer_id: str | None, view: View) -> str | None:
    """The test clock of a customer; everything that is billed to the customer names it."""
    customer = None if customer_id is None else view.find(customer_id)
    return customer.test_clock if isinstance(customer, Customer) else None


def show_payment_method(thing: PaymentMethod, shape: Version, view: View) -> Body:
    owner = view.find(thing.customer or "")
    known = owner if isinstance(owner, Customer) else None
    details: Body = (
        {
            "brand": "visa",
            "country": "US",
            "exp_month": 8,
            "exp_year": 2035,
            "fingerprint": thing.id[3:],
            "funding": "credit",
            "last4": thing.last4,
            "wallet": None,
        }
        if thing.type == "card"
        else {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "SANDBOX BANK",
            "fingerprint": thing.id[3:],
            "last4": thing.last4,
        }
    )
    body: Body = {
        "id": thing.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": NOWHERE,
            "email": None if known is None else known.email,
            "name": None if known is None else known.name,
            "phone": None,
            "tax_id": None,
        },
        "created": thing.created,
        "customer": thing.customer,
        "livemode": view.live_mode,
        "metadata": {},
        "type": thing.type,
        thing.type: details,
    }
    if shape.endive:
        body["customer_account"] = None
    return body


def show_setup_intent(thing: SetupIntent, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "created": thing.created,
        "customer": thing.customer,
        "description": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": view.live_mode,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": thing.payment_method,
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": thing.status,
        "usage": "off_session",
    }


def show_tax_id(thing: TaxId, shape: Version, view: View) -> Body:
    body: Body = {
        "id": thing.id,
        "object": "tax_id",
        "country": thing.country,
        "created": thing.created,
        "customer": thing.customer,
        "livemode": view.live_mode,
        "type": thing.type,
        "value": thing.value,
        "verification": {"status": thing.verification, "verified_address": None, "verified_name": None},
    }
    if shape.tax_id_owner:
        body["owner"] = {"type": "customer", "customer": thing.customer}
    if shape.endive:
        body["customer_account"] = None
    return body


def include_tax_ids(body: Body, shape: Version, view: View) -> None:
    customer = view.find(body["id"])
    if isinstance(customer, Customer):
        found = (view.find(tax_id) for tax_id in reversed(customer.tax_ids))
        rows = [show_tax_id(tax_id, shape, view) for tax_id in found if isinstance(tax_id, TaxId)]
        body["tax_ids"] = cut_listing(f"/v1/customers/{customer.id}/tax_ids", rows)
