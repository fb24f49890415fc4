"""The Stripe objects that we mirror: what each is called, where it is read, and which events touch it.

Adding a mirrored object is one entry in `KINDS`, one parser in `parse.py` and one migration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeGuard

from billing import facts

ID_LENGTH_MAX = 255  # Stripe promises that no id is longer


class ObjectRef(NamedTuple):
    """One Stripe object by name: the kind as in `Kind.name`, and Stripe's id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One mirrored kind of Stripe object."""

    name: str  # as in sync.objects.kind
    stripe_object: str  # Stripe's `object` field
    table: str
    facts: type[facts.Facts]
    list_path: str | None  # None: no list holds them all (lists.PER_CUSTOMER)
    retrieve_path: str  # with {id}, to be filled with the quoted id
    list_by_created: bool = (
        True  # its list can be asked for a stretch of `created`; else it is read in one go
    )
    # The true-or-false fact by which its list is asked for twice, since unasked it leaves one of the halves out.
    list_halves: str | None = None
    expands: tuple[str, ...] = ()  # what a retrieve asks for, because Stripe leaves it out otherwise
    catalogue: bool = False  # describes what is sold, so a pending read of it makes no customer inexact
    names_customer: bool = False  # its facts carry customer_id (a customer names itself)
    deleted_event: str | None = None  # the event that, with a 404, proves a deletion
    id_is_chosen: bool = False  # by people, who may choose it again once the object is deleted
    absorbing: frozenset[str] = frozenset()  # statuses that no payload may leave, once shown or confirmed
    # Of a kind that names no customer: the facts that hold the id of what it belongs to, and the kind of that.
    belongs_to: tuple[tuple[str, str], ...] = ()
    list_holds_all: bool = True  # False: what its list lacks may exist all the same
    # Stripe has no such object to be read, only the list that stands in this field of it.
    list_field: str | None = None
    # Facts that tell who the customer is; like metadata and the object as Stripe sent it, they can be forgotten.
    personal: tuple[str, ...] = ()
    # False: no record depends on it. Its payloads are shown by the same rule, but no event has it read: lists confirm
    # it, in a backfill, and an audit finds what has changed since. Nothing is fetched for what it names, nor because
    # something names it.
    confirmed_on_event: bool = True
    # Facts that Stripe tells only who asks for them to be expanded, so that a payload says nothing of them: what a read
    # has told stays. (A payload that does tell them is believed like any other.) What was told of `discounts` stays as
    # long as the discounts are the same.
    told_by_reads: tuple[str, ...] = ()
    # Facts that change without an event, and that no record depends on: a difference in them is no drift, and concerns
    # nobody. Audits bring them up to date.
    untold: tuple[str, ...] = ()
    id_field: str = "id"  # `customer` where Stripe keeps one per customer, and gives it no id

    @property
    def list_variants(self) -> tuple[str, ...]:
        """What its list is asked for beside all else, one reading each; together they hold what the list can hold."""
        if self.list_halves is None:
            return ("",)
        return (f"{self.list_halves}=true", f"{self.list_halves}=false")

    @property
    def says_created(self) -> bool:
        """Whether Stripe says when such an object was created."""
        return "created" in self.facts.__dataclass_fields__

    @property
    def nameless(self) -> bool:
        """Whether records depend on it though it names no customer: what it belongs to tells who is concerned."""
        names = self.names_customer or self.id_is_customers
        return self.confirmed_on_event and not self.catalogue and not names

    @property
    def id_is_customers(self) -> bool:
        """Whether its id is the id of its customer."""
        return self.name == "customer" or self.id_field == "customer"


def _by_name(*kinds: Kind) -> Mapping[str, Kind]:
    return MappingProxyType({kind.name: kind for kind in kinds})


# The order is the lock order of the mirror tables. It also puts what others refer to before those who refer.
KINDS: Mapping[str, Kind] = _by_name(
    Kind(
        name="customer",
        stripe_object="customer",
        table="stripe.customers",
        facts=facts.Customer,
        list_path="/v1/customers",
        retrieve_path="/v1/customers/{id}",
        names_customer=True,
        deleted_event="customer.deleted",
        personal=("name", "email", "description", "custom_uid"),
        expands=("tax_ids", "discount.source.coupon"),
        told_by_reads=("discounts",),
    ),
    Kind(
        name="product",
        stripe_object="product",
        table="stripe.products",
        facts=facts.Product,
        list_path="/v1/products",
        retrieve_path="/v1/products/{id}",
        catalogue=True,
        deleted_event="product.deleted",
        id_is_chosen=True,
    ),
    Kind(
        name="price",
        stripe_object="price",
        table="stripe.prices",
        facts=facts.Price,
        list_path="/v1/prices",
        list_halves="active",
        # One that was made in the middle of a Checkout or an invoice (`price_data`) is in neither half.
        retrieve_path="/v1/prices/{id}",
        catalogue=True,
        expands=("tiers", "currency_options"),
        told_by_reads=("tiers", "currency_options"),
        deleted_event="price.deleted",
        id_is_chosen=True,
    ),
    Kind(
        name="feature",
        stripe_object="entitlements.feature",
        table="stripe.features",
        facts=facts.Feature,
        list_path="/v1/entitlements/features",
        list_by_created=False,
        retrieve_path="/v1/entitlements/features/{id}",
        catalogue=True,
    ),
    Kind(
        name="meter",
        stripe_object="billing.meter",
        table="stripe.meters",
        facts=facts.Meter,
        list_path="/v1/billing/meters",
        list_by_created=False,
        retrieve_path="/v1/billing/meters/{id}",
        catalogue=True,
    ),
    Kind(
        name="plan",
        stripe_object="plan",
        table="stripe.plans",
        facts=facts.Plan,
        list_path="/v1/plans",
        retrieve_path="/v1/plans/{id}",
        catalogue=True,
        deleted_event="plan.deleted",
        id_is_chosen=True,
        confirmed_on_event=False,
    ),
    Kind(
        name="coupon",
        stripe_object="coupon",
        table="stripe.coupons",
        facts=facts.Coupon,
        list_path="/v1/coupons",
        retrieve_path="/v1/coupons/{id}",
        catalogue=True,
        expands=("applies_to",),
        told_by_reads=("applies_to",),
        untold=("times_redeemed", "valid"),
        deleted_event="coupon.deleted",
        id_is_chosen=True,
    ),
    Kind(
        name="subscription",
        stripe_object="subscription",
        table="stripe.subscriptions",
        facts=facts.Subscription,
        list_path="/v1/subscriptions",
        retrieve_path="/v1/subscriptions/{id}",
        # No deeper for items: expansions end at four levels, and a list begins with one. stripe.coupons has the rest.
        expands=("discounts.source.coupon", "items.data.discounts"),
        told_by_reads=("discounts",),
        names_customer=True,
        # customer.subscription.deleted is no deletion: the object stays retrievable, with status canceled.
        deleted_event=None,
        absorbing=frozenset({"canceled", "incomplete_expired"}),
    ),
    Kind(
        name="subscription_schedule",
        stripe_object="subscription_schedule",
        table="stripe.subscription_schedules",
        facts=facts.SubscriptionSchedule,
        list_path="/v1/subscription_schedules",
        retrieve_path="/v1/subscription_schedules/{id}",
        names_customer=True,
        absorbing=frozenset({"completed", "released", "canceled"}),
    ),
    Kind(
        name="invoice",
        stripe_object="invoice",
        table="stripe.invoices",
        facts=facts.Invoice,
        list_path="/v1/invoices",
        retrieve_path="/v1/invoices/{id}",
        expands=("payments", "amount_paid_off_stripe"),
        told_by_reads=("amount_paid_off_stripe",),
        names_customer=True,
        deleted_event="invoice.deleted",
        absorbing=frozenset({"void"}),
    ),
    Kind(
        name="invoice_payment",
        stripe_object="invoice_payment",
        table="stripe.invoice_payments",
        facts=facts.InvoicePayment,
        list_path="/v1/invoice_payments",
        retrieve_path="/v1/invoice_payments/{id}",
        belongs_to=(("invoice_id", "invoice"),),
    ),
    Kind(
        name="charge",
        stripe_object="charge",
        table="stripe.charges",
        facts=facts.Charge,
        list_path="/v1/charges",
        retrieve_path="/v1/charges/{id}",
        expands=("refunds",),
        names_customer=True,
        personal=("description",),
    ),
    Kind(
        name="refund",
        stripe_object="refund",
        table="stripe.refunds",
        facts=facts.Refund,
        list_path="/v1/refunds",
        retrieve_path="/v1/refunds/{id}",
        belongs_to=(("charge_id", "charge"),),
    ),
    Kind(
        name="dispute",
        stripe_object="dispute",
        table="stripe.disputes",
        facts=facts.Dispute,
        list_path="/v1/disputes",
        retrieve_path="/v1/disputes/{id}",
        belongs_to=(("charge_id", "charge"),),
    ),
    Kind(
        name="credit_note",
        stripe_object="credit_note",
        table="stripe.credit_notes",
        facts=facts.CreditNote,
        list_path="/v1/credit_notes",
        retrieve_path="/v1/credit_notes/{id}",
        names_customer=True,
        absorbing=frozenset({"void"}),
        personal=("memo",),
    ),
    Kind(
        name="checkout_session",
        stripe_object="checkout.session",
        table="stripe.checkout_sessions",
        facts=facts.CheckoutSession,
        list_path="/v1/checkout/sessions",
        retrieve_path="/v1/checkout/sessions/{id}",
        names_customer=True,
        personal=("client_reference_id",),
        expands=("line_items",),
    ),
    Kind(
        name="payment_intent",
        stripe_object="payment_intent",
        table="stripe.payment_intents",
        facts=facts.PaymentIntent,
        list_path="/v1/payment_intents",
        retrieve_path="/v1/payment_intents/{id}",
        names_customer=True,
        absorbing=frozenset({"succeeded", "canceled"}),
        personal=("description", "receipt_email"),
        confirmed_on_event=False,
    ),
    Kind(
        name="payment_method",
        stripe_object="payment_method",
        table="stripe.payment_methods",
        facts=facts.PaymentMethod,
        list_path="/v1/payment_methods",
        retrieve_path="/v1/payment_methods/{id}",
        names_customer=True,
        personal=("card_last4", "billing_name", "billing_email"),
        confirmed_on_event=False,
        list_by_created=False,
        list_holds_all=False,  # what is detached from its customer is in no list
    ),
    Kind(
        name="setup_intent",
        stripe_object="setup_intent",
        table="stripe.setup_intents",
        facts=facts.SetupIntent,
        list_path="/v1/setup_intents",
        retrieve_path="/v1/setup_intents/{id}",
        names_customer=True,
        absorbing=frozenset({"succeeded", "canceled"}),
        personal=("description",),
        confirmed_on_event=False,
    ),
    Kind(
        name="tax_id",
        stripe_object="tax_id",
        table="stripe.tax_ids",
        facts=facts.TaxId,
        list_path="/v1/tax_ids",
        retrieve_path="/v1/tax_ids/{id}",
        names_customer=True,
        deleted_event="customer.tax_id.deleted",
        personal=("value",),
        confirmed_on_event=False,
    ),
    Kind(
        name="review",
        stripe_object="review",
        table="stripe.reviews",
        facts=facts.Review,
        list_path="/v1/reviews",
        retrieve_path="/v1/reviews/{id}",
        list_holds_all=False,  # what was closed is in no list
        belongs_to=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
        confirmed_on_event=False,
    ),
    Kind(
        name="early_fraud_warning",
        stripe_object="radar.early_fraud_warning",
        table="stripe.early_fraud_warnings",
        facts=facts.EarlyFraudWarning,
        list_path="/v1/radar/early_fraud_warnings",
        retrieve_path="/v1/radar/early_fraud_warnings/{id}",
        belongs_to=(("charge_id", "charge"), ("payment_intent_id", "payment_intent")),
        confirmed_on_event=False,
    ),
    Kind(
        name="payout",
        stripe_object="payout",
        table="stripe.payouts",
        facts=facts.Payout,
        list_path="/v1/payouts",
        retrieve_path="/v1/payouts/{id}",
        absorbing=frozenset({"failed", "canceled"}),
        confirmed_on_event=False,
    ),
    Kind(
        name="balance_transaction",
        stripe_object="balance_transaction",
        table="stripe.balance_transactions",
        facts=facts.BalanceTransaction,
        list_path="/v1/balance_transactions",
        retrieve_path="/v1/balance_transactions/{id}",
        belongs_to=(("source_id", "charge"), ("source_id", "refund"), ("source_id", "dispute")),
        personal=("description",),
        confirmed_on_event=False,
    ),
    Kind(
        name="active_entitlement_summary",
        stripe_object="entitlements.active_entitlement_summary",
        table="stripe.active_entitlement_summaries",
        facts=facts.ActiveEntitlementSummary,
        list_path=None,
        retrieve_path="/v1/entitlements/active_entitlements?customer={id}&limit=100",
        names_customer=True,
        id_field="customer",
        list_field="entitlements",
    ),
)

HINTED: frozenset[str] = frozenset(kind.name for kind in KINDS.values() if not kind.confirmed_on_event)
"""The kinds that no event has read: only lists confirm them."""

_BY_STRIPE_OBJECT: Mapping[str, Kind] = {kind.stripe_object: kind for kind in KINDS.values()}

# Whom an event concerns besides its own object, by the `object` of data.object: (field, kind named there).
# A field may hold an id, a whole object, or a list of either. The event type adds nothing to this: Stripe puts the
# same object into every event of a family.
_CONCERNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "charge": (("refunds", "refund"), ("dispute", "dispute")),
    "refund": (("charge", "charge"),),
    "dispute": (("charge", "charge"),),
    "invoice": (("payments", "invoice_payment"),),
    "invoice_payment": (("invoice", "invoice"),),
    "invoiceitem": (("invoice", "invoice"),),
    # latest_charge since 2022-11-15, the list of charges before.
    "payment_intent": (("latest_charge", "charge"), ("charges", "charge")),
    # One refund before basil, then a list of {refund, amount_refunded}.
    "credit_note": (("invoice", "invoice"), ("refund", "refund"), ("refunds", "refund")),
    "discount": (("customer", "customer"), ("subscription", "subscription")),
    "subscription_item": (("subscription", "subscription"),),
    "subscription_schedule": (("subscription", "subscription"), ("released_subscription", "subscription")),
    # A plan is the same thing as the price of its id, under its name from before prices.
    "plan": (("id", "price"),),
}


def kind_of(stripe_object: str) -> Kind | None:
    """The kind whose `object` field this is; None when we do not mirror it."""
    return _BY_STRIPE_OBJECT.get(stripe_object)


def is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH_MAX


def concerned(event_type: str, body: Mapping[str, object]) -> tuple[ObjectRef, ...]:
    """Every object that an event makes dirty, its own object first, each once.

    `body` is the event's data.object; the whole event will do too. Total: a type that we do not know, or a body that
    makes no sense, gives what can be made out, perhaps nothing, and never an exception.
    """
    body = _subject(body)
    name = body.get("object")
    if not isinstance(name, str):
        return ()
    refs: dict[ObjectRef, None] = {}
    kind = kind_of(name)
    if kind is not None:
        own_id = body.get(kind.id_field)
        if not is_id(own_id):
            return ()  # invoice.upcoming carries an invoice that does not exist yet
        refs[ObjectRef(kind.name, own_id)] = None
        if event_type == kind.deleted_event:
            return tuple(refs)
    for field, other in _CONCERNS.get(name, ()):
        for other_id in _ids(body.get(field), other):
            refs[ObjectRef(other, other_id)] = None
    return tuple(refs)


def customer_named_by(body: Mapping[str, object]) -> str | None:
    """Whose an object is that cannot be understood otherwise, as far as it says so itself."""
    named = body.get("customer") or body.get("customer_account")
    found = named.get("id") if isinstance(named, Mapping) else named
    return found if is_id(found) else None


def _subject(body: object) -> Mapping[str, object]:
    """The object that an event is about, given that object or the whole event."""
    if isinstance(body, Mapping) and body.get("object") == "event":
        data = body.get("data")
        body = data.get("object") if isinstance(data, dict) else None
    return body if isinstance(body, Mapping) else {}


def _ids(value: object, kind: str) -> Iterator[str]:
    """The ids in a field of any shape: an id, an object, or a list of them (Stripe's list object or an array)."""
    if isinstance(value, dict) and "data" in value:
        value = value["data"]
    for entry in value if isinstance(value, list) else (value,):
        named = entry
        if isinstance(named, dict) and "id" not in named:
            named = named.get(kind)  # a credit note's refunds: {"refund": "re_1", "amount_refunded": 5}
        if isinstance(named, dict):
            named = named.get("id")
        if is_id(named):
            yield named
