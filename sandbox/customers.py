"""Customers of the account, and their Checkout sessions."""

from collections.abc import Mapping, Sequence

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
from sandbox.schedules import Schedules
from sandbox.store import Store
from sandbox.subscriptions import Subscriptions


class Customers:
    def __init__(self, store: Store, subscriptions: Subscriptions, schedules: Schedules) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._schedules = schedules

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
        store = self._store
        customer_id = customer_id or store.new_id("cus_")
        customer = Customer(
            id=customer_id,
            created=store.now,
            name=name,
            email=email,
            description=description,
            metadata=dict(metadata or {}),
            payment_method=payment_method,
            test_clock=None if clock is None else clock.id,
        )
        store.add(customer)
        if payment_method is not None:
            self._attach_method(customer)
        store.emit("customer.created", customer)
        return customer

    def clock(self, name: str) -> Clock:
        """A test clock, for customers to be put on when they are created."""
        store = self._store
        if store.live_mode:
            raise ValueError("test clocks exist in test mode only")
        clock = Clock(id=store.new_id("clock_"), created=store.now, frozen_time=store.now, name=name)
        store.add(clock)
        return clock

    def delete_clock(self, clock: Clock) -> None:
        """Delete a test clock, and with it the customers that are on it."""
        store = self._store
        for customer in [each for each in store.customers() if each.test_clock == clock.id]:
            if customer.deleted_at is None:
                self.delete(customer)
        store.remove(clock)

    def _attach_method(self, customer: Customer, *, last4: str = "4242") -> PaymentMethod:
        store = self._store
        by_debit = (customer.payment_method or "").startswith("debit")
        method = PaymentMethod(
            id=store.new_id("pm_"),
            created=store.now,
            customer=customer.id,
            type="us_bank_account" if by_debit else "card",
            last4=last4,
        )
        store.add(method)
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
        self._store.emit("customer.updated", customer)

    def set_fields(
        self, customer: Customer, texts: Mapping[str, str | None], metadata: Mapping[str, str | None]
    ) -> None:
        """Set what is named, as a request to the API does; None removes. What changes nothing is no event."""
        before = (customer.name, customer.email, customer.description, customer.metadata)
        for name, text in texts.items():
            setattr(customer, name, text)
        kept = {key: value for key, value in customer.metadata.items() if key not in metadata}
        customer.metadata = kept | {key: value for key, value in metadata.items() if value is not None}
        if before != (customer.name, customer.email, customer.description, customer.metadata):
            self._store.emit("customer.updated", customer)

    def set_payment_method(self, customer: Customer, payment_method: str | None) -> None:
        """Set how payments behave from now on; None removes what is on file."""
        store = self._store
        customer.payment_method = payment_method
        if payment_method is None:
            self._detach_methods(customer)
        elif customer.default_payment_method is None:
            store.emit_aside("payment_method.attached", self._attach_method(customer))
        store.emit("customer.updated", customer)

    def _detach_methods(self, customer: Customer) -> None:
        store = self._store
        customer.default_payment_method = None
        for method in tuple(store.shelves["payment_method"].of_customer.get(customer.id, ())):
            store.shelves["payment_method"].disown(method)
            store.emit_aside("payment_method.detached", method)

    def set_up_card(self, customer: Customer, *, last4: str = "4444") -> SetupIntent:
        """Put a card on file without a payment; it is charged from now on."""
        store = self._store
        intent = SetupIntent(id=store.new_id("seti_"), created=store.now, customer=customer.id)
        store.add(intent)
        store.emit("setup_intent.created", intent)
        customer.payment_method = "good"
        method = self._attach_method(customer, last4=last4)
        intent.status, intent.payment_method = "succeeded", method.id
        store.emit("payment_method.attached", method)
        store.emit("setup_intent.succeeded", intent)
        store.emit("customer.updated", customer)
        return intent

    def add_tax_id(self, customer: Customer, value: str, *, kind: str = "eu_vat") -> TaxId:
        store = self._store
        tax_id = TaxId(
            id=store.new_id("txi_"),
            created=store.now,
            customer=customer.id,
            type=kind,
            value=value,
            country=value[:2],
        )
        store.add(tax_id)
        customer.tax_ids.append(tax_id.id)
        store.emit("customer.tax_id.created", tax_id)
        return tax_id

    def verify_tax_id(self, tax_id: TaxId) -> None:
        tax_id.verification = "verified"
        self._store.emit("customer.tax_id.updated", tax_id)

    def remove_tax_id(self, tax_id: TaxId) -> None:
        self._store.emit("customer.tax_id.deleted", tax_id)
        self._store.customer(tax_id.customer).tax_ids.remove(tax_id.id)
        self._store.remove(tax_id)

    def credit(self, customer: Customer, amount: int) -> None:
        """Add to the customer's credit balance, from which the next invoices are paid first."""
        customer.balance -= amount
        self._store.emit("customer.updated", customer)

    def delete(self, customer: Customer) -> None:
        """Delete for good: every live subscription is canceled at once, invoices and charges stay."""
        store = self._store
        customer.deleted_at = store.now
        store.emit("customer.deleted", customer)
        for subscription in store.subscriptions_of(customer.id):
            if subscription.ended_at is None:
                self._subscriptions.end(subscription, reason=None)
        self._schedules.customer_deleted(customer.id)
        for kind in ("payment_method", "tax_id"):
            for thing in tuple(store.shelves[kind].of_customer.get(customer.id, ())):
                store.remove(thing)

    # Checkout

    def open_checkout(
        self,
        customer: Customer | None,
        *,
        mode: str,
        amount: int,
        currency: str = "usd",
        client_reference_id: str | None = None,
        payment_link: str | None = None,
        plans: Sequence[tuple[Price, int]] = (),
    ) -> CheckoutSession:
        """The buyer is on the payment page. Stripe sends no event for that.

        `plans`: what is bought; without it, one thing that costs the amount and has no price. `payment_link`: the link
        that the buyer followed; then the reference is what stood behind `?client_reference_id=`.
        """
        store = self._store
        prefix = "cs_live_" if store.live_mode else "cs_test_"
        session = CheckoutSession(
            id=store.new_id(prefix),
            created=store.now,
            customer=None if customer is None else customer.id,
            mode=mode,
            currency=currency,
            amount_total=amount,
            expires_at=store.now + DAY,
            client_reference_id=client_reference_id,
            payment_link=payment_link,
        )
        # Their ids follow from the session's, so that they draw nothing.
        session.lines = [
            SessionLine(
                id=f"li_{session.id[8:]}{place}",
                description=store.product(price.product).name,
                amount=price.amount_for(quantity),
                quantity=quantity,
                price=price.id,
            )
            for place, (price, quantity) in enumerate(plans)
        ] or [SessionLine(id=f"li_{session.id[8:]}", description="Purchase", amount=amount)]
        store.add(session)
        store.clock.at(session.expires_at, lambda: self._expire(session))
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
        self._store.emit("checkout.session.completed", session)

    def _expire(self, session: CheckoutSession) -> None:
        if session.status == "open":
            session.status = "expired"
            self._store.emit("checkout.session.expired", session)
