"""Customers and their tax ids."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.discounts import Discount, discounts_of
from billing.kinds.fields import entries_of, id_of, metadata_of, moment_of, note, object_of, owner_of, text_of
from billing.kinds.found import Facts, Found, Json
from billing.kinds.kind import Kind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(Facts):
    created: datetime | None
    name: str | None
    email: str | None
    description: str | None
    metadata: dict[str, str]
    custom_uid: str | None  # metadata.custom_uid as Stripe has it, valid or not
    test_clock: str | None
    discounts: (
        tuple[Discount, ...] | None
    )  # for its subscriptions that have none of their own; None: not known


def _customer(object_id: str, body: Json, found: Found) -> Customer:
    metadata = metadata_of(body)
    for tax_id in entries_of(body, "tax_ids")[0]:
        note(found, "tax_id", tax_id)
    return Customer(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        name=text_of(body, "name"),
        email=text_of(body, "email"),
        description=text_of(body, "description"),
        metadata=metadata,
        custom_uid=metadata.get("custom_uid"),
        test_clock=id_of(body, "test_clock"),
        discounts=discounts_of(body, found),
    )


CUSTOMER = Kind(
    name="customer",
    stripe_object="customer",
    table="stripe.customers",
    facts=Customer,
    list_path="/v1/customers",
    retrieve_path="/v1/customers/{id}",
    confirmed_along="created",
    names_customer=True,
    deleted_event="customer.deleted",
    personal=("name", "email", "description", "custom_uid"),
    expands=("tax_ids", "discount.source.coupon"),
    read_only_fields=("discounts",),
    parse=_customer,
    whole_lists=(WholeList(field="tax_ids", url="/v1/customers/{id}/tax_ids"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxId(Facts):
    created: datetime | None
    customer_id: str | None
    type: str | None  # eu_vat, us_ein ...
    country: str | None
    value: str | None
    verification_status: str | None  # pending, verified, unverified, unavailable


def _tax_id(object_id: str, body: Json, _: Found) -> TaxId:
    owner = object_of(body, "owner")  # before 2023-08-16 there was only `customer`
    return TaxId(
        id=object_id,
        created=moment_of(body, "created"),
        customer_id=owner_of(body) or id_of(owner, "customer", "owner."),
        type=text_of(body, "type"),
        country=text_of(body, "country"),
        value=text_of(body, "value"),
        verification_status=text_of(object_of(body, "verification"), "status", "verification."),
    )


TAX_ID = Kind(
    name="tax_id",
    stripe_object="tax_id",
    table="stripe.tax_ids",
    facts=TaxId,
    list_path="/v1/tax_ids",
    retrieve_path="/v1/tax_ids/{id}",
    names_customer=True,
    deleted_event="customer.tax_id.deleted",
    personal=("value",),
    confirmed_by="lists",
    parse=_tax_id,
    references=(("customer_id", "customer"),),
    read_through="customer",
)
