"""What the simulated account holds: one class per Stripe object, one file per family of objects."""

from sandbox.objects.catalogue import (
    ActiveEntitlement,
    Coupon,
    Discount,
    Feature,
    Meter,
    Price,
    Product,
    Tier,
)
from sandbox.objects.checkout import CheckoutSession, SessionLine
from sandbox.objects.customers import Clock, Customer, PaymentMethod, SetupIntent, TaxId
from sandbox.objects.invoices import CreditNote, Invoice, InvoicePayment, Line
from sandbox.objects.payments import (
    BalanceTransaction,
    Charge,
    Dispute,
    EarlyFraudWarning,
    PaymentIntent,
    Payout,
    Refund,
    Review,
)
from sandbox.objects.subscriptions import Item, Phase, Subscription, SubscriptionSchedule
from sandbox.objects.thing import Metadata, Thing

LIST_KINDS = (
    Customer,
    Product,
    Price,
    Coupon,
    Subscription,
    SubscriptionSchedule,
    Invoice,
    CreditNote,
    InvoicePayment,
    PaymentIntent,
    PaymentMethod,
    SetupIntent,
    Charge,
    Refund,
    Dispute,
    Review,
    EarlyFraudWarning,
    BalanceTransaction,
    Payout,
    CheckoutSession,
    TaxId,
    Feature,
    ActiveEntitlement,
    Meter,
    Clock,
)
"""Every kind that lists show."""

__all__ = [
    "LIST_KINDS",
    "ActiveEntitlement",
    "BalanceTransaction",
    "Charge",
    "CheckoutSession",
    "Clock",
    "Coupon",
    "CreditNote",
    "Customer",
    "Discount",
    "Dispute",
    "EarlyFraudWarning",
    "Feature",
    "Invoice",
    "InvoicePayment",
    "Item",
    "Line",
    "Metadata",
    "Meter",
    "PaymentIntent",
    "PaymentMethod",
    "Payout",
    "Phase",
    "Price",
    "Product",
    "Refund",
    "Review",
    "SessionLine",
    "SetupIntent",
    "Subscription",
    "SubscriptionSchedule",
    "TaxId",
    "Thing",
    "Tier",
]
