"""Checkout sessions that the company makes by the API, before anybody knows who will pay."""

from dataclasses import dataclass

from sandbox.customers import Customers
from sandbox.objects import CheckoutSession, Customer, Price
from sandbox.objects.thing import Metadata
from sandbox.payments import Payments
from sandbox.store import Store
from sandbox.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What happens when the session is paid."""

    price: Price
    quantity: int | None
    """None: metered."""
    email: str | None
    makes_customer: bool
    metadata: Metadata
    trial_seconds: int


class Checkouts:
    def __init__(
        self, store: Store, clients: Customers, subscriptions: Subscriptions, payments: Payments
    ) -> None:
        self._store = store
        self._clients = clients
        self._subscriptions = subscriptions
        self._payments = payments
        self._orders: dict[str, _Order] = {}

    def open(
        self,
        price: Price,
        quantity: int | None,
        *,
        mode: str,
        customer: Customer | None,
        email: str | None,
        makes_customer: bool,
        client_reference_id: str | None,
        metadata: Metadata,
        sold_metadata: Metadata,
        trial_seconds: int,
    ) -> CheckoutSession:
        """A session for one price. Stripe sends no event for that."""
        session = self._clients.open_checkout(
            customer,
            mode=mode,
            amount=price.amount_for(quantity or 0),
            currency=price.currency,
            client_reference_id=client_reference_id,
            plans=[(price, quantity or 1)],
        )
        session.metadata = dict(metadata)
        self._orders[session.id] = _Order(
            price=price,
            quantity=quantity,
            email=email,
            makes_customer=makes_customer,
            metadata=sold_metadata,
            trial_seconds=trial_seconds,
        )
        return session

    def pay(self, session: CheckoutSession) -> None:
        """The buyer pays: a customer is made if there is none, and gets what was sold."""
        order = self._orders.pop(session.id)
        customer = None if session.customer is None else self._store.customer(session.customer)
        if customer is None and order.makes_customer:
            customer = self._clients.create("Buyer", order.email)
            self._store.shelves[session.kind].own(session, customer.id)
        if customer is None:
            raise NotImplementedError("a guest pays: nobody's record moves")
        if session.mode == "subscription":
            subscription = self._subscriptions.start(
                customer,
                [(order.price, order.quantity or 1)],
                trial_seconds=order.trial_seconds,
                metadata=order.metadata,
            )
            self._clients.complete_checkout(session, subscription=subscription)
        else:
            intent, _ = self._payments.pay_once(customer, session.amount_total, session.currency)
            self._clients.complete_checkout(session, intent=intent)
