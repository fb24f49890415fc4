"""POST /customers/ID/checkout and /portal: links to pages at Stripe, from which the record finds its customer."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import Meta

from db.records.customer import StoredCustomer
from db.records.joins import select_payer
from webhooks.api.naming import customer_to_change, name_given
from webhooks.api.operation import END, Answer, Call, Operation, Reply, Where
from webhooks.api.problems import CONFLICT, NO_KEY, NOT_FOUND, STRIPE_REFUSES, Problem
from webhooks.api.shown import policy_of
from webhooks.api.stripe import FIELDS_OF_CHECKOUT, FIELDS_OF_PORTAL, Page
from webhooks.api.write import BLANKS, STORABLE, Creating, get_or_create

URL = rf"^https?://[^{BLANKS}]+" + END


class NewCheckout(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be bought."""

    price_id: Annotated[
        str,
        Meta(
            max_length=255,
            pattern=r"^[A-Za-z0-9_]+" + END,
            description="Stripe's id of the price. A recurring one is subscribed to, another one is paid once.",
        ),
    ]
    success_url: Annotated[
        str, Meta(max_length=2000, pattern=URL, description="Where the buyer goes once it is paid.")
    ]
    cancel_url: Annotated[
        Annotated[str, Meta(max_length=2000, pattern=URL)] | None,
        Meta(description="Where the buyer goes back to."),
    ] = None
    quantity: Annotated[
        Annotated[int, Meta(ge=1, le=999_999)],
        Meta(description="How many. Of a metered price it does not matter."),
    ] = 1
    trial_days: Annotated[
        Annotated[int, Meta(ge=1, le=730)] | None, Meta(description="Days of trial, of a recurring price.")
    ] = None
    entity_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=500, pattern=STORABLE)] | None,
        Meta(description="The entity that a subscription is for."),
    ] = None
    idempotency_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255, pattern=STORABLE)] | None,
        Meta(description="The same key gives the same session, for 24 hours. Left out: a new one each time."),
    ] = None


class NewPortal(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where the customer comes from."""

    return_url: Annotated[
        Annotated[str, Meta(max_length=2000, pattern=URL)] | None,
        Meta(description="Where the customer goes back to. Left out: as the portal is set up at Stripe."),
    ] = None


class CheckoutPage(msgspec.Struct, kw_only=True):
    """A Checkout session."""

    id: str
    url: str
    mode: str
    """subscription, or payment."""
    expires_at: datetime | None


class PortalPage(msgspec.Struct, kw_only=True):
    """A session of the billing portal."""

    id: str
    url: str


async def checkout(call: Call[Creating, NewCheckout]) -> Reply:
    """A link to a Checkout session for one price."""
    context, body = call.context, call.body
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
    name = str(await get_or_create(call, scope)) if call.query.create else call.name("customer_id")
    async with context.database.connection() as connection:
        record = await customer_to_change(connection, scope, name, policy=policy_of(context))
        custom_uid = await name_given(connection, scope, record)
        payer = await select_payer(connection, record)
    _require_payer(record)
    price = await context.stripe.price(scope, body.price_id)
    for name, value in (("trial_days", body.trial_days), ("entity_id", body.entity_id)):
        if value is not None and not price.recurring:
            raise Problem(
                CONFLICT,
                f"the price {body.price_id} is paid once, and only a subscription has {name}",
                field=f"body.{name}",
                remedy="leave it out, or give a recurring price",
            )
    page = await context.stripe.open_page(
        scope,
        "/v1/checkout/sessions",
        _fields_of(record, payer, custom_uid, body, recurring=price.recurring, metered=price.metered),
        idempotency_key=_key_of(record, body.idempotency_key),
        right="Checkout Sessions",
        names=FIELDS_OF_CHECKOUT,
    )
    return Reply(content=_shown(page, recurring=price.recurring), status=201)


def _require_payer(record: StoredCustomer) -> None:
    if record.deleted_at is not None:
        raise Problem(
            CONFLICT,
            "the customer was deleted at Stripe, and can buy nothing more",
            field="path.customer_id",
            remedy="create another customer",
        )
    if record.stripe_customer_id is None and record.custom_uid is None:
        raise Problem(
            CONFLICT,
            "the customer has no custom_uid, by which its record would find what it buys",
            field="path.customer_id",
            remedy="POST /customers/ID/identify first",
        )


def _fields_of(
    record: StoredCustomer,
    payer: str | None,
    custom_uid: str | None,
    body: NewCheckout,
    *,
    recurring: bool,
    metered: bool,
) -> Mapping[str, str]:
    """Who buys is said three times: in the reference, which names the customer, and in what stays after the session.

    `payer`: the customer at Stripe, if there is one.

    `custom_uid`: the name that the company gave. One that only a buyer wrote would become the company's word here.
    """
    fields = {
        "mode": "subscription" if recurring else "payment",
        "line_items[0][price]": body.price_id,
        "success_url": body.success_url,
    }
    if not metered:
        fields["line_items[0][quantity]"] = str(body.quantity)
    if body.cancel_url is not None:
        fields["cancel_url"] = body.cancel_url
    sold = "subscription_data" if recurring else "payment_intent_data"
    if custom_uid is not None:
        fields["client_reference_id"] = custom_uid
        fields["metadata[custom_uid]"] = custom_uid
        fields[f"{sold}[metadata][custom_uid]"] = custom_uid
    if body.entity_id is not None:
        fields[f"{sold}[metadata][entity_id]"] = body.entity_id
    if body.trial_days is not None:
        fields["subscription_data[trial_period_days]"] = str(body.trial_days)
    if payer is not None:
        fields["customer"] = payer
        return fields
    if record.email is not None:
        fields["customer_email"] = record.email
    if not recurring:  # otherwise a guest pays, and nobody's record moves
        fields["customer_creation"] = "always"
    return fields


def _key_of(record: StoredCustomer, given: str | None) -> str:
    """Stripe's keys are those of all callers, and have 255 characters at most."""
    if given is None:
        return f"subledger-checkout-{uuid4()}"
    digest = hashlib.sha256(f"{record.uid} {given}".encode()).hexdigest()
    return f"subledger-checkout-{digest}"


def _shown(page: Page, *, recurring: bool) -> CheckoutPage:
    return CheckoutPage(
        id=page.id,
        url=page.url,
        mode="subscription" if recurring else "payment",
        expires_at=None if page.expires_at is None else datetime.fromtimestamp(page.expires_at, UTC),
    )


async def portal(call: Call[Where, NewPortal]) -> Reply:
    """A link to the billing portal."""
    context, body = call.context, call.body
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        record = await customer_to_change(
            connection, scope, call.name("customer_id"), policy=policy_of(context)
        )
        payer = await select_payer(connection, record)
    _require_payer(record)
    if payer is None:
        raise Problem(
            CONFLICT,
            "Stripe does not know the customer, so there is nothing to show",
            field="path.customer_id",
            remedy="send it to a checkout first, or link it by stripe_id",
        )
    fields = {"customer": payer}
    if body.return_url is not None:
        fields["return_url"] = body.return_url
    page = await context.stripe.open_page(
        scope,
        "/v1/billing_portal/sessions",
        fields,
        idempotency_key=f"subledger-portal-{uuid4()}",
        right="Customer portal",
        names=FIELDS_OF_PORTAL,
    )
    return Reply(content=PortalPage(id=page.id, url=page.url), status=201)


CHECKOUT: Operation[Creating, NewCheckout] = Operation(
    method="POST",
    path="/customers/{customer_id}/checkout",
    name="openCheckout",
    summary="A link by which a customer buys something",
    description=(
        "A Checkout session at Stripe. It bears the custom_uid, so that the record of a customer that Stripe does not "
        "know yet finds its customer there once it is paid. It needs a key that may write Checkout Sessions."
    ),
    handle=checkout,
    query=Creating,
    body=NewCheckout,
    body_example={
        "price_id": "price_1PgafmB7WZ01zgkW6dKueIc5",
        "success_url": "https://example.com/welcome",
        "cancel_url": "https://example.com/prices",
    },
    answers={
        201: Answer(
            description="Send the customer to its url.",
            type=CheckoutPage,
            example=CheckoutPage(
                id="cs_test_a1b2c3",
                url="https://checkout.stripe.com/c/pay/cs_test_a1b2c3",
                mode="subscription",
                expires_at=datetime(2026, 2, 1, 12, tzinfo=UTC),
            ),
        )
    },
    problems=(NOT_FOUND, CONFLICT, NO_KEY, STRIPE_REFUSES),
)

PORTAL: Operation[Where, NewPortal] = Operation(
    method="POST",
    path="/customers/{customer_id}/portal",
    name="openPortal",
    summary="A link to the billing portal of a customer",
    description="Where it changes its card, its subscription and reads its invoices. It needs a key that may write it.",
    handle=portal,
    query=Where,
    body=NewPortal,
    body_example={"return_url": "https://example.com/account"},
    answers={
        201: Answer(
            description="Send the customer to its url.",
            type=PortalPage,
            example=PortalPage(id="bps_1a2b3c", url="https://billing.stripe.com/p/session/bps_1a2b3c"),
        )
    },
    problems=(NOT_FOUND, CONFLICT, NO_KEY, STRIPE_REFUSES),
)
