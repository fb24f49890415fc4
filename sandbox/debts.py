"""What happens to subscriptions when their invoices are paid, given up, overdue or disputed."""

from sandbox.invoices import Invoices
from sandbox.objects import Invoice, Subscription
from sandbox.store import Store
from sandbox.subscriptions import Subscriptions


class Debts:
    """Listens to invoices, and changes the subscriptions that they bill."""

    def __init__(self, store: Store, invoices: Invoices, subscriptions: Subscriptions) -> None:
        self._store = store
        self._invoices = invoices
        self._subscriptions = subscriptions
        invoices.listen(self)

    def invoice_settled(self, invoice: Invoice) -> None:
        """An invoice was paid, voided or given up: judge again what the subscription owes."""
        if invoice.subscription is None:
            return
        subscription = self._store.subscription(invoice.subscription)
        paid = invoice.status == "paid"
        if subscription.status == "incomplete" and paid and subscription.latest_invoice == invoice.id:
            self._subscriptions.set_status(subscription, "active")
        elif (
            subscription.pending_update is not None
            and paid
            and invoice.billing_reason == "subscription_update"
        ):
            self._subscriptions.apply_pending_update(subscription)
        elif subscription.status in ("past_due", "unpaid"):
            self._judge_debt(subscription)
        elif subscription.status == "paused" and self._pays_for_pause(subscription, invoice):
            self._subscriptions.end_pause(subscription)

    def _pays_for_pause(self, subscription: Subscription, invoice: Invoice) -> bool:
        if subscription.resuming_invoice is not None:
            return invoice.id == subscription.resuming_invoice and invoice.status == "paid"
        owed = subscription.pause_reason in ("first_payment_failure", "final_payment_failure")
        return owed and invoice.status in ("paid", "uncollectible")

    def _judge_debt(self, subscription: Subscription) -> None:
        """Stripe's rule: the latest invoice that is not void decides; drafts count only for an unpaid one."""
        idle = {"void"} if subscription.status == "unpaid" else {"void", "draft"}
        invoices = [
            invoice for invoice in self._invoices.of_subscription(subscription) if invoice.status not in idle
        ]
        if not invoices or invoices[-1].status in ("paid", "uncollectible"):
            self._subscriptions.set_status(subscription, "active")

    def payment_failed(self, invoice: Invoice, *, last: bool) -> None:
        """A collection failed, or (send_invoice) the due date passed."""
        if invoice.subscription is None:
            return
        subscription = self._store.subscription(invoice.subscription)
        if subscription.status == "active" and invoice.billing_reason != "subscription_create":
            if subscription.pause_on_first_failure:
                self._subscriptions.pause_for(subscription, "first_payment_failure")
            elif subscription.pending_update is None:
                self._subscriptions.set_status(subscription, "past_due")
        elif subscription.status == "active" and subscription.collection_method == "send_invoice":
            self._subscriptions.set_status(subscription, "past_due")
        if not last or subscription.status != "past_due":
            return
        match subscription.after_retries:
            case "cancel":
                self._subscriptions.end(subscription, reason="payment_failed")
            case "unpaid":
                self._subscriptions.set_status(subscription, "unpaid")
            case "pause":
                self._subscriptions.pause_for(subscription, "final_payment_failure")
            case _:
                # It stays past_due.
                pass

    def payment_disputed(self, invoice: Invoice) -> None:
        """The payer disputes what was paid: the subscription ends."""
        if invoice.subscription is not None:
            subscription = self._store.subscription(invoice.subscription)
            if subscription.ended_at is None:
                self._subscriptions.end(subscription, reason="payment_disputed")
