"""Customers of the account, and their Checkout sessions."""

from typing import TYPE_CHECKING

from subledger.sandbox.objects import CheckoutSession, Customer, Metadata, PaymentIntent, Subscription
from subledger.sandbox.periods import DAY

if TYPE_CHECKING:
    from subledger.sandbox.account import Account


class Customers:
    def __init__(self, account: "Account") -> None:
        self._account = account

    def create(
        self,
        name: str | None,
        email: str | None,
        *,
        description: str | None = None,
        metadata: Metadata | None = None,
        payment_method: str | None = "good",
        customer_id: str | None = None,
    ) -> Customer:
        account = self._account
        customer_id = customer_id or account.new_id("cus_")
        customer = Customer(
            id=customer_id,
            created=account.now,
            name=name,
            email=email,
            description=description,
            metadata=dict(metadata or {}),
            payment_method=payment_method,
        )
        account.add(customer)
        account.emit("customer.created", customer)
        return customer

    def update(
        self,
        customer: Customer,
        *,
        name: str | None = None,
        email: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        customer.name = name or customer.name
        customer.email = email or customer.email
        customer.metadata = dict(customer.metadata if metadata is None else metadata)
        self._account.emit("customer.updated", customer)

    def set_payment_method(self, customer: Customer, payment_method: str | None) -> None:
        customer.payment_method = payment_method
        self._account.emit("customer.updated", customer)

    def credit(self, customer: Customer, amount: int) -> None:
        """Add to the customer's credit balance, from which the next invoices are paid first."""
        customer.balance -= amount
        self._account.emit("customer.updated", customer)

    def delete(self, customer: Customer) -> None:
        """Delete for good: every live subscription is canceled at once, invoices and charges stay."""
        account = self._account
        customer.deleted_at = account.now
        account.emit("customer.deleted", customer)
        for subscription in account.subscriptions_of(customer.id):
            if subscription.ended_at is None:
                account.subscriptions.end(subscription, reason=None)

    # Checkout

    def open_checkout(
        self,
        customer: Customer,
        *,
        mode: str,
        amount: int,
        currency: str = "usd",
        client_reference_id: str | None = None,
    ) -> CheckoutSession:
        """The buyer is on the payment page. Stripe sends no event for that."""
        account = self._account
        prefix = "cs_live_" if account.live_mode else "cs_test_"
        session = CheckoutSession(
            id=account.new_id(prefix),
            created=account.now,
            customer=customer.id,
            mode=mode,
            currency=currency,
            amount_total=amount,
            expires_at=account.now + DAY,
            client_reference_id=client_reference_id,
        )
        account.add(session)
        account.world.at(session.expires_at, lambda: self._expire(session))
        return session

    def complete_checkout(
        self,
        session: CheckoutSession,
        *,
        subscription: Subscription | None = None,
        intent: PaymentIntent | None = None,
    ) -> None:
        session.status = "complete"
        session.payment_status = "paid" if session.amount_total else "no_payment_required"
        if subscription is not None:
            session.subscription = subscription.id
            session.invoice = subscription.latest_invoice
        if intent is not None:
            session.payment_intent = intent.id
        self._account.emit("checkout.session.completed", session)

    def _expire(self, session: CheckoutSession) -> None:
        if session.status == "open":
            session.status = "expired"
            self._account.emit("checkout.session.expired", session)
