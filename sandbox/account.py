"""One account in one mode: its store, and the parts that act on it."""

from sandbox.catalogue import Catalogue
from sandbox.checkouts import Checkouts
from sandbox.customers import Customers
from sandbox.debts import Debts
from sandbox.entitlements import Entitlements
from sandbox.invoices import Invoices
from sandbox.metering import Metering
from sandbox.payments import Payments
from sandbox.schedules import Schedules
from sandbox.store import Journal, Store
from sandbox.subscription_billing import SubscriptionBilling
from sandbox.subscriptions import Subscriptions


class Account(Store):
    """An account of the sandbox in one mode. Every action leaves objects, events and entries in the books."""

    def __init__(self, journal: Journal, seed: int | str, account_id: str, *, live_mode: bool) -> None:
        super().__init__(journal, seed, account_id, live_mode=live_mode)
        self.catalogue = Catalogue(self)
        self.metering = Metering(self)
        self.entitlements = Entitlements(self)
        self.payments = Payments(self)
        self.invoices = Invoices(self, self.payments)
        self.billing = SubscriptionBilling(self, self.invoices, self.metering)
        self.subscriptions = Subscriptions(self, self.catalogue, self.invoices, self.billing)
        self.debts = Debts(self, self.invoices, self.subscriptions)
        self.schedules = Schedules(self, self.subscriptions)
        self.clients = Customers(self, self.subscriptions, self.schedules)
        self.checkouts = Checkouts(self, self.clients, self.subscriptions, self.payments)

    def forget(self, customer_id: str) -> None:
        """Drop a customer with all its objects, as if the account had never had it (bounds a long play's memory).

        Raises ValueError while a subscription is running: only a customer that has left for good can be forgotten.
        """
        super().forget(customer_id)
        self.metering.forget(customer_id)
        self.payments.forget_payouts()
