"""Features, and the entitlements that customers have to them."""

from dataclasses import dataclass

from billing.kinds.fields import Refused, entries_of, flag_of, id_of, link, metadata_of, note, text_of
from billing.kinds.found import Facts, Found, Json, Part
from billing.kinds.kind import Kind, PartKind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature(Facts):
    lookup_key: str | None  # the company's own name for it
    name: str | None
    active: bool | None
    metadata: dict[str, str]


def _feature(object_id: str, body: Json, _: Found) -> Feature:
    return Feature(
        id=object_id,
        lookup_key=text_of(body, "lookup_key", needed=True),
        name=text_of(body, "name"),
        active=flag_of(body, "active"),
        metadata=metadata_of(body),
    )


FEATURE = Kind(
    name="feature",
    stripe_object="entitlements.feature",
    table="stripe.features",
    facts=Feature,
    list_path="/v1/entitlements/features",
    list_by_created=False,
    retrieve_path="/v1/entitlements/features/{id}",
    catalogue=True,
    parse=_feature,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveEntitlementSummary(Facts):
    # `id` is the customer's: Stripe gives a summary none of its own.
    customer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveEntitlement(Part):
    customer_id: str
    feature_id: str | None
    lookup_key: str | None


def _active_entitlement_summary(customer_id: str, body: Json, found: Found) -> ActiveEntitlementSummary:
    note(found, "customer", customer_id)
    entries, found.items_cut = entries_of(body, "entitlements", needed=True)
    for position, entry in enumerate(entries):
        path = f"entitlements.data[{position}]."
        entitlement_id = id_of(entry, "id", path, needed=True)
        if entitlement_id is None:
            raise Refused(path + "id", None, "an id")
        found.parts[entitlement_id] = ActiveEntitlement(
            id=entitlement_id,
            customer_id=customer_id,
            feature_id=link(entry, "feature", "feature", found, path),
            lookup_key=text_of(entry, "lookup_key", path, needed=True),
        )
    return ActiveEntitlementSummary(id=customer_id, customer_id=customer_id)


ACTIVE_ENTITLEMENT_SUMMARY = Kind(
    name="active_entitlement_summary",
    stripe_object="entitlements.active_entitlement_summary",
    table="stripe.active_entitlement_summaries",
    facts=ActiveEntitlementSummary,
    list_path=None,
    retrieve_path="/v1/entitlements/active_entitlements?customer={id}&limit=100",
    names_customer=True,
    id_field="customer",
    list_field="entitlements",
    parse=_active_entitlement_summary,
    references=(("customer_id", "customer"),),
    whole_lists=(
        WholeList(
            field="entitlements",
            url="/v1/entitlements/active_entitlements?customer={id}",
            url_is_usable=False,
        ),
    ),
    read_after="feature",
    part=PartKind(
        name="active_entitlement",
        table="stripe.active_entitlements",
        facts=ActiveEntitlement,
        owner="customer_id",
        references=(("customer_id", "customer"), ("feature_id", "feature")),
    ),
)
