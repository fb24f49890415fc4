"""How Checkout sessions are shown, and what was bought in them."""

from sandbox.objects import CheckoutSession, Customer, Price, SessionLine
from sandbox.shapes.catalogue import show_price
from sandbox.versions import Body, Version, View, cut_listing


def show_checkout_session(thing: CheckoutSession, _shape: Version, view: View) -> Body:
    customer = view.find(thing.customer or "")
    known = customer if isinstance(customer, Customer) else None
    return {
        "id": thing.id,
        "object": "checkout.session",
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": thing.amount_total,
        "amount_total": thing.amount_total,
        "automatic_tax": {"enabled": False, "liability": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": thing.client_reference_id,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "customer_creation": "always",
        "customer_details": (
            None
            if thing.status != "complete"
            else {
                "email": None if known is None else known.email,
                "name": None if known is None else known.name,
                "phone": None,
                "tax_exempt": "none",
                "tax_ids": [],
            }
        ),
        "customer_email": None,
        "expires_at": thing.expires_at,
        "invoice": thing.invoice,
        "livemode": view.live_mode,
        "locale": None,
        "metadata": dict(thing.metadata),
        "mode": thing.mode,
        "payment_intent": thing.payment_intent,
        "payment_link": thing.payment_link,
        "payment_method_types": ["card"],
        "payment_status": thing.payment_status,
        "setup_intent": None,
        "status": thing.status,
        "subscription": thing.subscription,
        "success_url": "https://example.com/success",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "url": None,
    }


def show_session_line(entry: SessionLine, session: CheckoutSession, shape: Version, view: View) -> Body:
    price = None if entry.price is None else view.find(entry.price)
    return {
        "id": entry.id,
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": entry.amount,
        "amount_tax": 0,
        "amount_total": entry.amount,
        "currency": session.currency,
        "description": entry.description,
        "price": show_price(price, shape, view) if isinstance(price, Price) else None,
        "quantity": entry.quantity,
    }


def include_session_lines(body: Body, shape: Version, view: View) -> None:
    session = view.find(body["id"])
    if isinstance(session, CheckoutSession):
        rows = [show_session_line(entry, session, shape, view) for entry in session.lines]
        body["line_items"] = cut_listing(f"/v1/checkout/sessions/{session.id}/line_items", rows)
