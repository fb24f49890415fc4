"""Customers of the account, and their Checkout sessions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.objects import (
    CheckoutSession,
    Clock,
    Customer,
    Metadata,
    PaymentIntent,
    PaymentMethod,
    Price,
    SessionLine,
    SetupIntent,
    Subscription,
    TaxId,
)
from sandbox.periods import DAY

if TYPE_CHECKING:
    from sandbox.account import Account


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
        clock: Clock | None = None,
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
            test_clock=None if clock is None else clock.id,
        )
        account.add(customer)
        if payment_method is not None:
            self._attach_method(customer)
        account.emit("customer.created", customer)
        return customer

    def clock(self, name: str) -> Clock:
        """A test clock, for customers to be put on when they are created."""
        account = self._account
        if account.live_mode:
            raise ValueError("test clocks exist in test mode only")
        clock = Clock(id=account.new_id("clock_"), created=account.now, frozen_time=account.now, name=name)
        account.add(clock)
        return clock

    def delete_clock(self, clock: Clock) -> None:
        """Delete a test clock, and with it whoever is on it."""
        account = self._account
        for customer in [each for each in account.customers() if each.test_clock == clock.id]:
            if customer.deleted_at is None:
                self.delete(customer)
        account.remove(clock)

    def _attach_method(self, customer: Customer, *, last4: str = "4242") -> PaymentMethod:
        account = self._account
        by_debit = (customer.payment_method or "").startswith("debit")
        method = PaymentMethod(
            id=account.new_id("pm_"),
            created=account.now,
            customer=customer.id,
            type="us_bank_account" if by_debit else "card",
            last4=last4,
        )
        account.add(method)
        customer.default_payment_method = method.id
        return method

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
        """Say how payments behave from now on; None takes what is on file away."""
        account = self._account
        customer.payment_method = payment_method
        if payment_method is None:
            self._detach_methods(customer)
        elif customer.default_payment_method is None:
            account.emit_aside("payment_method.attached", self._attach_method(customer))
        account.emit("customer.updated", customer)

    def _detach_methods(self, customer: Customer) -> None:
        account = self._account
        customer.default_payment_method = None
        for method in tuple(account.shelves["payment_method"].of_customer.get(customer.id, ())):
            account.shelves["payment_method"].disown(method)
            account.emit_aside("payment_method.detached", method)

    def set_up_card(self, customer: Customer, *, last4: str = "4444") -> SetupIntent:
        """Put a card on file without a payment; it is the one that is charged from now on."""
        account = self._account
        intent = SetupIntent(id=account.new_id("seti_"), created=account.now, customer=customer.id)
        account.add(intent)
        account.emit("setup_intent.created", intent)
        customer.payment_method = "good"
        method = self._attach_method(customer, last4=last4)
        intent.status, intent.payment_method = "succeeded", method.id
        account.emit("payment_method.attached", method)
        account.emit("setup_intent.succeeded", intent)
        account.emit("customer.updated", customer)
        return intent

    def add_tax_id(self, customer: Customer, value: str, *, kind: str = "eu_vat") -> TaxId:
        account = self._account
        tax_id = TaxId(
            id=account.new_id("txi_"),
            created=account.now,
            customer=customer.id,
            type=kind,
            value=value,
            country=value[:2],
        )
        account.add(tax_id)
        customer.tax_ids.append(tax_id.id)
        account.emit("customer.tax_id.created", tax_id)
        return tax_id

    def verify_tax_id(self, tax_id: TaxId) -> None:
        tax_id.verification = "verified"
        self._account.emit("customer.tax_id.updated", tax_id)

    def remove_tax_id(self, tax_id: TaxId) -> None:
        self._account.emit("customer.tax_id.deleted", tax_id)
        self._account.customer(tax_id.customer).tax_ids.remove(tax_id.id)
        self._account.remove(tax_id)

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
        account.schedules.customer_deleted(customer.id)
        for kind in ("payment_method", "tax_id"):
            for thing in tuple(account.shelves[kind].of_customer.get(customer.id, ())):
                account.remove(thing)

    # Checkout

    def open_checkout(
        self,
        customer: Customer,
        *,
        mode: str,
        amount: int,
        currency: str = "usd",
        client_reference_id: str | None = None,
        plans: Sequence[tuple[Price, int]] = (),
    ) -> CheckoutSession:
        """The buyer is on the payment page. Stripe sends no event for that.

        `plans`: what is bought; left out, one thing that costs the amount and has no price.
        """
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
        # Their ids follow from the session's: nothing else is drawn for them.
        session.lines = [
            SessionLine(
                id=f"li_{session.id[8:]}{place}",
                description=account.product(price.product).name,
                amount=price.amount_for(quantity),
                quantity=quantity,
                price=price.id,
            )
            for place, (price, quantity) in enumerate(plans)
        ] or [SessionLine(id=f"li_{session.id[8:]}", description="Purchase", amount=amount)]
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
