"""Invoices: drafted, finalised, paid, retried, given up."""

from collections import defaultdict
from typing import Protocol

from sandbox.objects import (
    Charge,
    CreditNote,
    Customer,
    Discount,
    Invoice,
    InvoicePayment,
    Line,
    PaymentIntent,
    Refund,
    Subscription,
)
from sandbox.payments import Payments
from sandbox.periods import DAY, HOUR
from sandbox.store import Store

FINALIZES_AFTER = HOUR
RETRIES_AFTER = (3 * DAY, 5 * DAY, 7 * DAY)


class InvoicesListener(Protocol):
    """How invoices report to the subscriptions that they bill."""

    def invoice_settled(self, invoice: Invoice) -> None:
        """The invoice was paid, voided or given up."""

    def payment_failed(self, invoice: Invoice, *, last: bool) -> None:
        """A collection failed (`last`: it is not tried again), or the due date passed."""

    def payment_disputed(self, invoice: Invoice) -> None:
        """The payer disputes the payment, and the subscription is to end."""


class Invoices:
    def __init__(self, store: Store, payments: Payments) -> None:
        self._store = store
        self._payments = payments
        self._listeners: list[InvoicesListener] = []
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self.waiting_lines: defaultdict[str, list[Line]] = defaultdict(list)
        """Prorations per subscription that the next cycle invoice will carry."""
        self._credit_numbers: defaultdict[str, int] = defaultdict(int)
        payments.listen(self)

    def listen(self, listener: InvoicesListener) -> None:
        self._listeners.append(listener)

    # Drafts

    def line(
        self,
        amount: int,
        description: str,
        period: tuple[int, int],
        *,
        price: str | None = None,
        quantity: int | None = 1,
        subscription: str | None = None,
        item: str | None = None,
        proration: bool = False,
        line_id: str | None = None,
    ) -> Line:
        """One line. `line_id`: for a line that is only shown, so that no id is drawn for it."""
        return Line(
            id=line_id or self._store.new_id("il_"),
            amount=amount,
            description=description,
            period_start=period[0],
            period_end=period[1],
            price=price,
            product=None if price is None else self._store.price(price).product,
            quantity=quantity,
            subscription=subscription,
            item=item,
            proration=proration,
        )

    def draft(
        self,
        customer_id: str,
        lines: list[Line],
        *,
        reason: str,
        currency: str,
        subscription: Subscription | None = None,
        period: tuple[int, int] | None = None,
        discounts: list[Discount] | None = None,
        from_invoice: str | None = None,
    ) -> Invoice:
        """Create a draft. `period`: the window in which its items were collected; without it, now."""
        store = self._store
        start, end = period or (store.now, store.now)
        invoice = Invoice(
            id=store.new_id("in_"),
            created=store.now,
            customer=customer_id,
            subscription=None if subscription is None else subscription.id,
            currency=currency,
            billing_reason=reason,
            lines=lines,
            period_start=start,
            period_end=end,
            collection_method="charge_automatically"
            if subscription is None
            else subscription.collection_method,
            days_until_due=None if subscription is None else subscription.days_until_due,
            discounts=[entry for entry in discounts or [] if not entry.used],
            from_invoice=from_invoice,
        )
        for discount in invoice.discounts:
            discount.used = discount.coupon.duration == "once" and invoice.subtotal > 0
        store.add(invoice)
        if subscription is not None:
            subscription.latest_invoice = invoice.id
        store.emit("invoice.created", invoice)
        return invoice

    def finalize_later(self, invoice: Invoice) -> None:
        self._store.clock.at(self._store.now + FINALIZES_AFTER, lambda: self._finalize_due(invoice))

    def _finalize_due(self, invoice: Invoice) -> None:
        if invoice.status != "draft" or not invoice.auto_advance:
            return
        behavior = self._pause_behavior(invoice)
        self.finalize(invoice, collects=behavior is None)
        if behavior == "void" and invoice.status == "open":
            self.void(invoice)
        elif behavior == "mark_uncollectible" and invoice.status == "open":
            self.mark_uncollectible(invoice)

    def _pause_behavior(self, invoice: Invoice) -> str | None:
        if invoice.subscription is None:
            return None
        return self._store.subscription(invoice.subscription).pause_collection

    # Collection

    def finalize(self, invoice: Invoice, *, collects: bool = True) -> None:
        """Finalise a draft, and try to collect it if that is automatic."""
        store = self._store
        customer = store.customer(invoice.customer)
        self._numbers[customer.id] += 1
        invoice.number = f"{customer.id[-8:].upper()}-{self._numbers[customer.id]:04d}"
        invoice.status, invoice.finalized_at = "open", store.now
        self._apply_balance(invoice, customer)
        if invoice.amount_due == 0:
            store.emit("invoice.finalized", invoice)
            self._close_as_paid(invoice, received=True)
            return
        if invoice.collection_method == "send_invoice":
            due_date = store.now + (invoice.days_until_due or 0) * DAY
            invoice.due_date = due_date
            store.emit("invoice.finalized", invoice)
            store.emit("invoice.sent", invoice)
            store.clock.at(due_date, lambda: self._overdue(invoice))
            return
        store.emit("invoice.finalized", invoice)
        if collects:
            self.collect(invoice)

    def _apply_balance(self, invoice: Invoice, customer: Customer) -> None:
        """A credit balance pays first; an invoice below zero raises it."""
        if invoice.total < 0:
            applied = invoice.total
        else:
            applied = min(invoice.total, -customer.balance) if customer.balance < 0 else 0
        if applied:
            invoice.balance_applied = applied
            customer.balance += applied
            self._store.emit("customer.updated", customer)

    def _intent_for(self, invoice: Invoice, customer: Customer) -> tuple[PaymentIntent, InvoicePayment]:
        """The open intent of the invoice with its payment; new ones if there are none."""
        store = self._store
        for payment_id in invoice.payments:
            payment = store.find(payment_id)
            if isinstance(payment, InvoicePayment) and payment.status == "open":
                intent = store.find(payment.payment)
                if isinstance(intent, PaymentIntent):
                    return intent, payment
        intent = self._payments.open_intent(
            customer, invoice.amount_remaining, invoice.currency, invoice=invoice.id
        )
        payment = self._add_payment(invoice, intent.amount, "payment_intent", intent.id)
        return intent, payment

    def _add_payment(
        self, invoice: Invoice, amount: int, payment_type: str, payment_id: str
    ) -> InvoicePayment:
        store = self._store
        payment = InvoicePayment(
            id=store.new_id("inpay_"),
            created=store.now,
            customer=invoice.customer,
            invoice=invoice.id,
            currency=invoice.currency,
            amount_requested=amount,
            payment_type=payment_type,
            payment=payment_id,
            is_default=not invoice.payments,
        )
        store.add(payment)
        invoice.payments.append(payment.id)
        return payment

    def collect(self, invoice: Invoice) -> str:
        """Try to take what remains from the customer's payment method; returns the outcome."""
        store = self._store
        customer = store.customer(invoice.customer)
        intent, _ = self._intent_for(invoice, customer)
        outcome = self._payments.attempt(intent, customer)
        if outcome == "succeeded":
            invoice.attempt_count += 1
            self._received(invoice, intent.amount)
        elif outcome == "failed":
            self._failed(invoice)
        elif outcome == "requires_action":
            store.emit("invoice.payment_action_required", invoice)
        return outcome

    def _received(self, invoice: Invoice, amount: int) -> None:
        store = self._store
        payment = next(
            found
            for payment_id in invoice.payments
            if isinstance(found := store.find(payment_id), InvoicePayment) and found.status == "open"
        )
        counted = min(amount, invoice.amount_remaining)
        payment.status, payment.paid_at, payment.amount_paid = "paid", store.now, counted
        invoice.paid_by_stripe += counted
        store.emit("invoice_payment.paid", payment)
        if invoice.amount_remaining == 0:
            self._close_as_paid(invoice, received=True)
        else:
            store.emit("invoice.updated", invoice)

    def _close_as_paid(self, invoice: Invoice, *, received: bool) -> None:
        """Paid. Stripe leaves out invoice.payment_succeeded if the money came outside of it."""
        store = self._store
        invoice.status, invoice.paid_at = "paid", store.now
        invoice.next_payment_attempt = None
        store.emit("invoice.updated", invoice)
        store.emit("invoice.paid", invoice)
        if received:
            store.emit("invoice.payment_succeeded", invoice)
        self._update_delinquency(invoice, delinquent=False)
        self._settled(invoice)

    def _failed(self, invoice: Invoice) -> None:
        store = self._store
        invoice.attempt_count += 1
        attempt = invoice.attempt_count
        first = invoice.billing_reason == "subscription_create"
        if first or attempt > len(RETRIES_AFTER):
            invoice.next_payment_attempt = None
        else:
            at = store.now + RETRIES_AFTER[attempt - 1]
            invoice.next_payment_attempt = at
            store.clock.at(at, lambda: self._retry(invoice, at))
        store.emit("invoice.updated", invoice)
        store.emit("invoice.payment_failed", invoice)
        self._update_delinquency(invoice, delinquent=not first)
        self._payment_failed(invoice, last=attempt > len(RETRIES_AFTER))

    def _retry(self, invoice: Invoice, at: int) -> None:
        if invoice.status == "open" and invoice.auto_advance and invoice.next_payment_attempt == at:
            self.collect(invoice)

    def _settled(self, invoice: Invoice) -> None:
        for listener in self._listeners:
            listener.invoice_settled(invoice)

    def _payment_failed(self, invoice: Invoice, *, last: bool) -> None:
        for listener in self._listeners:
            listener.payment_failed(invoice, last=last)

    def payment_disputed(self, invoice: Invoice) -> None:
        """A payment of the invoice is disputed."""
        for listener in self._listeners:
            listener.payment_disputed(invoice)

    def _update_delinquency(self, invoice: Invoice, *, delinquent: bool) -> None:
        customer = self._store.customer(invoice.customer)
        if customer.delinquent != delinquent and customer.deleted_at is None:
            customer.delinquent = delinquent
            self._store.emit("customer.updated", customer)

    def debit_settled(self, invoice: Invoice, amount: int | None) -> None:
        """A bank debit for the invoice has come through, or (None) come back."""
        if amount is not None:
            self._received(invoice, amount)
        elif invoice.billing_reason == "subscription_create":
            # Stripe voids a first invoice whose delayed payment fails and leaves the subscription active.
            self.void(invoice)
        else:
            self._failed(invoice)

    def _overdue(self, invoice: Invoice) -> None:
        if invoice.status == "open":
            self._store.emit("invoice.overdue", invoice)
            self._payment_failed(invoice, last=False)

    # What people do with invoices

    def pay(self, invoice: Invoice) -> str:
        """Pay now with the payment method on file; a draft is finalised first."""
        if invoice.status == "draft":
            self.finalize(invoice, collects=False)
        return self.collect(invoice) if invoice.status in ("open", "uncollectible") else invoice.status

    def pay_out_of_band(self, invoice: Invoice, amount: int | None = None, *, recorded: bool = True) -> None:
        """The customer paid outside Stripe. `recorded`: with a payment record."""
        store = self._store
        if invoice.status == "draft":
            self.finalize(invoice, collects=False)
        paid = invoice.amount_remaining if amount is None else amount
        payment: InvoicePayment | None = None
        if recorded:
            payment = self._add_payment(invoice, paid, "payment_record", store.new_id("pr_"))
            payment.status, payment.paid_at, payment.amount_paid = "paid", store.now, paid
        invoice.paid_off_stripe += paid
        store.books.move_cash(invoice.customer or "", invoice.currency, "out_of_band", paid)
        if payment is not None:
            store.emit("invoice_payment.paid", payment)
        if invoice.amount_remaining == 0:
            self._close_as_paid(invoice, received=False)
        else:
            store.emit("invoice.updated", invoice)

    def pay_bank_transfer(self, invoice: Invoice, amount: int) -> None:
        """A transfer into the customer's virtual account; a surplus becomes credit balance."""
        store = self._store
        customer = store.customer(invoice.customer)
        intent = self._payments.open_intent(customer, amount, invoice.currency, invoice=invoice.id)
        self._add_payment(invoice, invoice.amount_remaining, "payment_intent", intent.id)
        surplus = amount - invoice.amount_remaining
        before, customer.payment_method = customer.payment_method, "good"
        self._payments.attempt(intent, customer)
        customer.payment_method = before
        if surplus > 0:
            invoice.overpaid = surplus
            customer.balance -= surplus
            store.emit("invoice.overpaid", invoice)
            store.emit("customer.updated", customer)
        self._received(invoice, amount)

    # Credit notes

    def _credit(
        self,
        invoice: Invoice,
        *,
        before_payment: int = 0,
        refund: Refund | None = None,
        to_balance: int = 0,
        out_of_band: int = 0,
        record: str | None = None,
        record_refunded: int = 0,
    ) -> CreditNote:
        store = self._store
        self._credit_numbers[invoice.id] += 1
        note = CreditNote(
            id=store.new_id("cn_"),
            created=store.now,
            customer=invoice.customer,
            invoice=invoice.id,
            currency=invoice.currency,
            number=f"{invoice.number}-CN-{self._credit_numbers[invoice.id]:02d}",
            before_payment=before_payment,
            refunded=0 if refund is None else refund.amount,
            refund=None if refund is None else refund.id,
            to_balance=to_balance,
            out_of_band=out_of_band,
            record=record,
            record_refunded=record_refunded,
        )
        store.add(note)
        store.emit("credit_note.created", note)
        return note

    def credit_after_payment(
        self,
        invoice: Invoice,
        *,
        refunded: int = 0,
        to_balance: int = 0,
        out_of_band: int = 0,
        record_refunded: int = 0,
    ) -> CreditNote:
        """Give back (part of) a paid invoice: to the card, to the customer's balance, outside Stripe, or as a refund of
        the recorded payment.
        """
        store = self._store
        refund = self._payments.refund(self._charge_of(invoice), refunded) if refunded else None
        if to_balance:
            self._credit_balance(store.customer(invoice.customer), to_balance)
        if outside := out_of_band + record_refunded:
            store.books.move_cash(invoice.customer or "", invoice.currency, "out_of_band", -outside)
        invoice.credited_after_payment += refunded + to_balance + outside
        note = self._credit(
            invoice,
            refund=refund,
            to_balance=to_balance,
            out_of_band=out_of_band,
            record=self._record_of(invoice) if record_refunded else None,
            record_refunded=record_refunded,
        )
        store.emit("invoice.updated", invoice)
        return note

    def _credit_balance(self, customer: Customer, amount: int) -> None:
        customer.balance -= amount
        self._store.emit("customer.updated", customer)

    def _record_of(self, invoice: Invoice) -> str:
        for thing in map(self._store.find, invoice.payments):
            if isinstance(thing, InvoicePayment) and thing.payment_type == "payment_record":
                return thing.payment
        raise KeyError(f"{invoice.id} has no recorded payment")

    def _charge_of(self, invoice: Invoice) -> Charge:
        for thing in reversed(self._store.shelves["charge"].of_customer[invoice.customer or ""]):
            if isinstance(thing, Charge) and thing.invoice == invoice.id:
                return thing
        raise KeyError(f"{invoice.id} has no charge")

    def void_credit(self, note: CreditNote) -> None:
        """Take back a credit note on an invoice that is still open."""
        store = self._store
        invoice = store.find(note.invoice)
        if not isinstance(invoice, Invoice) or invoice.status != "open":
            raise ValueError(f"{note.id} cannot be voided any more")
        note.status, note.voided_at = "void", store.now
        invoice.credited_before_payment -= note.before_payment
        store.emit("credit_note.voided", note)
        store.emit("invoice.updated", invoice)

    def credit_before_payment(self, invoice: Invoice, amount: int) -> CreditNote:
        """A credit note on an open invoice; one over the whole amount closes it as paid without money."""
        invoice.credited_before_payment += amount
        note = self._credit(invoice, before_payment=amount)
        self._after_credit(invoice)
        return note

    def _after_credit(self, invoice: Invoice) -> None:
        if invoice.amount_remaining == 0:
            self._close_as_paid(invoice, received=True)
        else:
            self._store.emit("invoice.updated", invoice)

    def void(self, invoice: Invoice) -> None:
        store = self._store
        invoice.status, invoice.voided_at = "void", store.now
        invoice.next_payment_attempt = None
        self._cancel_open_payments(invoice)
        store.emit("invoice.voided", invoice)
        self._settled(invoice)

    def mark_uncollectible(self, invoice: Invoice) -> None:
        store = self._store
        invoice.status, invoice.marked_uncollectible_at = "uncollectible", store.now
        invoice.next_payment_attempt = None
        store.emit("invoice.marked_uncollectible", invoice)
        self._settled(invoice)

    def _cancel_open_payments(self, invoice: Invoice) -> None:
        store = self._store
        for payment_id in invoice.payments:
            payment = store.find(payment_id)
            if not isinstance(payment, InvoicePayment) or payment.status != "open":
                continue
            payment.status, payment.canceled_at = "canceled", store.now
            intent = store.find(payment.payment)
            if isinstance(intent, PaymentIntent) and intent.status != "succeeded":
                intent.status, intent.canceled_at = "canceled", store.now
                store.emit("payment_intent.canceled", intent)

    def reissue(self, invoice: Invoice, *, reason: str) -> Invoice:
        """Replace an open invoice: a new one with the same lines and period, the old one void."""
        store = self._store
        subscription = None if invoice.subscription is None else store.subscription(invoice.subscription)
        lines = [self._copied(line) for line in invoice.lines]
        revision = self.draft(
            invoice.customer or "",
            lines,
            reason=reason,
            currency=invoice.currency,
            subscription=subscription,
            period=(invoice.period_start, invoice.period_end),
            discounts=invoice.discounts,
            from_invoice=invoice.id,
        )
        invoice.latest_revision = revision.id
        self.void(invoice)
        self.finalize(revision)
        return revision

    def _copied(self, line: Line) -> Line:
        return self.line(
            line.amount,
            line.description,
            (line.period_start, line.period_end),
            price=line.price,
            quantity=line.quantity,
            subscription=line.subscription,
            item=line.item,
            proration=line.proration,
        )

    def stop_advancing(self, subscription: Subscription) -> None:
        """The subscription ended: its invoices are no longer collected automatically."""
        store = self._store
        for invoice in self.of_subscription(subscription):
            if invoice.status in ("draft", "open") and invoice.auto_advance:
                invoice.auto_advance = False
                invoice.next_payment_attempt = None
                store.emit("invoice.updated", invoice)

    def of_subscription(self, subscription: Subscription) -> list[Invoice]:
        rows = self._store.shelves["invoice"].of_customer.get(subscription.customer or "", ())
        return [
            invoice
            for invoice in rows
            if isinstance(invoice, Invoice) and invoice.subscription == subscription.id
        ]

    def bill_once(
        self,
        customer: Customer,
        amount: int,
        description: str,
        *,
        currency: str = "usd",
        collects: bool = True,
    ) -> Invoice:
        """A one-off invoice, finalised at once; `collects=False` leaves it open."""
        period = (self._store.now, self._store.now)
        lines = [self.line(amount, description, period)]
        invoice = self.draft(customer.id, lines, reason="manual", currency=currency)
        self.finalize(invoice, collects=collects)
        return invoice
