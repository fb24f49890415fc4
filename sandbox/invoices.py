"""Invoices: drawn up, finalised, paid, retried, given up."""

from collections import defaultdict
from typing import TYPE_CHECKING

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
from sandbox.periods import DAY, HOUR

if TYPE_CHECKING:
    from sandbox.account import Account

FINALIZES_AFTER = HOUR
RETRIES_AFTER = (3 * DAY, 5 * DAY, 7 * DAY)


class Invoices:
    def __init__(self, account: "Account") -> None:
        self._account = account
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self.waiting_lines: defaultdict[str, list[Line]] = defaultdict(list)
        """Prorations per subscription that the next cycle invoice will carry."""
        self._credit_numbers: defaultdict[str, int] = defaultdict(int)

    # Birth

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
        """One line; `line_id` for one that is only shown and must not change what ids come next."""
        return Line(
            id=line_id or self._account.new_id("il_"),
            amount=amount,
            description=description,
            period_start=period[0],
            period_end=period[1],
            price=price,
            product=None if price is None else self._account.price(price).product,
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
        """Draw up an invoice. `period` is the window in which its items were collected; now when left out."""
        account = self._account
        start, end = period or (account.now, account.now)
        invoice = Invoice(
            id=account.new_id("in_"),
            created=account.now,
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
        account.add(invoice)
        if subscription is not None:
            subscription.latest_invoice = invoice.id
        account.emit("invoice.created", invoice)
        return invoice

    def finalize_later(self, invoice: Invoice) -> None:
        self._account.world.at(self._account.now + FINALIZES_AFTER, lambda: self._finalize_due(invoice))

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
        return self._account.subscription(invoice.subscription).pause_collection

    # The way to being paid

    def finalize(self, invoice: Invoice, *, collects: bool = True) -> None:
        """Make a draft a demand, and try to collect it where that is automatic."""
        account = self._account
        customer = account.customer(invoice.customer)
        self._numbers[customer.id] += 1
        invoice.number = f"{customer.id[-8:].upper()}-{self._numbers[customer.id]:04d}"
        invoice.status, invoice.finalized_at = "open", account.now
        self._apply_balance(invoice, customer)
        if invoice.amount_due == 0:
            account.emit("invoice.finalized", invoice)
            self._close_as_paid(invoice, received=True)
            return
        if invoice.collection_method == "send_invoice":
            due_date = account.now + (invoice.days_until_due or 0) * DAY
            invoice.due_date = due_date
            account.emit("invoice.finalized", invoice)
            account.emit("invoice.sent", invoice)
            account.world.at(due_date, lambda: self._overdue(invoice))
            return
        account.emit("invoice.finalized", invoice)
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
            self._account.emit("customer.updated", customer)

    def _intent_for(self, invoice: Invoice, customer: Customer) -> tuple[PaymentIntent, InvoicePayment]:
        """The open intent of the invoice with its payment; new ones where there are none."""
        account = self._account
        for payment_id in invoice.payments:
            payment = account.find(payment_id)
            if isinstance(payment, InvoicePayment) and payment.status == "open":
                intent = account.find(payment.payment)
                if isinstance(intent, PaymentIntent):
                    return intent, payment
        intent = account.payments.open_intent(
            customer, invoice.amount_remaining, invoice.currency, invoice=invoice.id
        )
        payment = self._add_payment(invoice, intent.amount, "payment_intent", intent.id)
        return intent, payment

    def _add_payment(
        self, invoice: Invoice, amount: int, payment_type: str, payment_id: str
    ) -> InvoicePayment:
        account = self._account
        payment = InvoicePayment(
            id=account.new_id("inpay_"),
            created=account.now,
            customer=invoice.customer,
            invoice=invoice.id,
            currency=invoice.currency,
            amount_requested=amount,
            payment_type=payment_type,
            payment=payment_id,
            is_default=not invoice.payments,
        )
        account.add(payment)
        invoice.payments.append(payment.id)
        return payment

    def collect(self, invoice: Invoice) -> str:
        """Try to take what remains from the customer's payment method; answers how it went."""
        account = self._account
        customer = account.customer(invoice.customer)
        intent, _ = self._intent_for(invoice, customer)
        outcome = account.payments.attempt(intent, customer)
        if outcome == "succeeded":
            invoice.attempt_count += 1
            self._received(invoice, intent.amount)
        elif outcome == "failed":
            self._failed(invoice)
        elif outcome == "requires_action":
            account.emit("invoice.payment_action_required", invoice)
        return outcome

    def _received(self, invoice: Invoice, amount: int) -> None:
        account = self._account
        payment = next(
            found
            for payment_id in invoice.payments
            if isinstance(found := account.find(payment_id), InvoicePayment) and found.status == "open"
        )
        counted = min(amount, invoice.amount_remaining)
        payment.status, payment.paid_at, payment.amount_paid = "paid", account.now, counted
        invoice.paid_by_stripe += counted
        account.emit("invoice_payment.paid", payment)
        if invoice.amount_remaining == 0:
            self._close_as_paid(invoice, received=True)
        else:
            account.emit("invoice.updated", invoice)

    def _close_as_paid(self, invoice: Invoice, *, received: bool) -> None:
        """Paid. Stripe leaves out invoice.payment_succeeded where the money came outside of it."""
        account = self._account
        invoice.status, invoice.paid_at = "paid", account.now
        invoice.next_payment_attempt = None
        account.emit("invoice.updated", invoice)
        account.emit("invoice.paid", invoice)
        if received:
            account.emit("invoice.payment_succeeded", invoice)
        self._update_delinquency(invoice, delinquent=False)
        account.subscriptions.invoice_settled(invoice)

    def _failed(self, invoice: Invoice) -> None:
        account = self._account
        invoice.attempt_count += 1
        attempt = invoice.attempt_count
        first = invoice.billing_reason == "subscription_create"
        if first or attempt > len(RETRIES_AFTER):
            invoice.next_payment_attempt = None
        else:
            at = account.now + RETRIES_AFTER[attempt - 1]
            invoice.next_payment_attempt = at
            account.world.at(at, lambda: self._retry(invoice, at))
        account.emit("invoice.updated", invoice)
        account.emit("invoice.payment_failed", invoice)
        self._update_delinquency(invoice, delinquent=not first)
        account.subscriptions.payment_failed(invoice, last=attempt > len(RETRIES_AFTER))

    def _retry(self, invoice: Invoice, at: int) -> None:
        if invoice.status == "open" and invoice.auto_advance and invoice.next_payment_attempt == at:
            self.collect(invoice)

    def _update_delinquency(self, invoice: Invoice, *, delinquent: bool) -> None:
        customer = self._account.customer(invoice.customer)
        if customer.delinquent != delinquent and customer.deleted_at is None:
            customer.delinquent = delinquent
            self._account.emit("customer.updated", customer)

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
            self._account.emit("invoice.overdue", invoice)
            self._account.subscriptions.payment_failed(invoice, last=False)

    # What people do with invoices

    def pay(self, invoice: Invoice) -> str:
        """Pay now with the payment method on file, a draft included."""
        if invoice.status == "draft":
            self.finalize(invoice, collects=False)
        return self.collect(invoice) if invoice.status in ("open", "uncollectible") else invoice.status

    def pay_out_of_band(self, invoice: Invoice, amount: int | None = None, *, recorded: bool = True) -> None:
        """The customer paid by other means; `recorded`: there is a payment record to show for it."""
        account = self._account
        if invoice.status == "draft":
            self.finalize(invoice, collects=False)
        paid = invoice.amount_remaining if amount is None else amount
        payment: InvoicePayment | None = None
        if recorded:
            payment = self._add_payment(invoice, paid, "payment_record", account.new_id("pr_"))
            payment.status, payment.paid_at, payment.amount_paid = "paid", account.now, paid
        invoice.paid_off_stripe += paid
        account.books.move_cash(invoice.customer or "", invoice.currency, "out_of_band", paid)
        if payment is not None:
            account.emit("invoice_payment.paid", payment)
        if invoice.amount_remaining == 0:
            self._close_as_paid(invoice, received=False)
        else:
            account.emit("invoice.updated", invoice)

    def pay_bank_transfer(self, invoice: Invoice, amount: int) -> None:
        """A transfer into the customer's virtual account; what is too much becomes credit balance."""
        account = self._account
        customer = account.customer(invoice.customer)
        intent = account.payments.open_intent(customer, amount, invoice.currency, invoice=invoice.id)
        self._add_payment(invoice, invoice.amount_remaining, "payment_intent", intent.id)
        surplus = amount - invoice.amount_remaining
        before, customer.payment_method = customer.payment_method, "good"
        account.payments.attempt(intent, customer)
        customer.payment_method = before
        if surplus > 0:
            invoice.overpaid = surplus
            customer.balance -= surplus
            account.emit("invoice.overpaid", invoice)
            account.emit("customer.updated", customer)
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
        account = self._account
        self._credit_numbers[invoice.id] += 1
        note = CreditNote(
            id=account.new_id("cn_"),
            created=account.now,
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
        account.add(note)
        account.emit("credit_note.created", note)
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
        """Give back (part of) a paid invoice: to the card, to the customer's balance, or outside Stripe, as such or
        as a refund of the recorded payment.
        """
        account = self._account
        refund = account.payments.refund(self._charge_of(invoice), refunded) if refunded else None
        if to_balance:
            account.clients.credit(account.customer(invoice.customer), to_balance)
        if outside := out_of_band + record_refunded:
            account.books.move_cash(invoice.customer or "", invoice.currency, "out_of_band", -outside)
        invoice.credited_after_payment += refunded + to_balance + outside
        note = self._credit(
            invoice,
            refund=refund,
            to_balance=to_balance,
            out_of_band=out_of_band,
            record=self._record_of(invoice) if record_refunded else None,
            record_refunded=record_refunded,
        )
        account.emit("invoice.updated", invoice)
        return note

    def _record_of(self, invoice: Invoice) -> str:
        for thing in map(self._account.find, invoice.payments):
            if isinstance(thing, InvoicePayment) and thing.payment_type == "payment_record":
                return thing.payment
        raise KeyError(f"{invoice.id} has no recorded payment")

    def _charge_of(self, invoice: Invoice) -> Charge:
        for thing in reversed(self._account.shelves["charge"].of_customer[invoice.customer or ""]):
            if isinstance(thing, Charge) and thing.invoice == invoice.id:
                return thing
        raise KeyError(f"{invoice.id} has no charge")

    def void_credit(self, note: CreditNote) -> None:
        """Take back a credit note on an invoice that is still open."""
        account = self._account
        invoice = account.find(note.invoice)
        if not isinstance(invoice, Invoice) or invoice.status != "open":
            raise ValueError(f"{note.id} cannot be voided any more")
        note.status, note.voided_at = "void", account.now
        invoice.credited_before_payment -= note.before_payment
        account.emit("credit_note.voided", note)
        account.emit("invoice.updated", invoice)

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
            self._account.emit("invoice.updated", invoice)

    def void(self, invoice: Invoice) -> None:
        account = self._account
        invoice.status, invoice.voided_at = "void", account.now
        invoice.next_payment_attempt = None
        self._cancel_open_payments(invoice)
        account.emit("invoice.voided", invoice)
        account.subscriptions.invoice_settled(invoice)

    def mark_uncollectible(self, invoice: Invoice) -> None:
        account = self._account
        invoice.status, invoice.marked_uncollectible_at = "uncollectible", account.now
        invoice.next_payment_attempt = None
        account.emit("invoice.marked_uncollectible", invoice)
        account.subscriptions.invoice_settled(invoice)

    def _cancel_open_payments(self, invoice: Invoice) -> None:
        account = self._account
        for payment_id in invoice.payments:
            payment = account.find(payment_id)
            if not isinstance(payment, InvoicePayment) or payment.status != "open":
                continue
            payment.status, payment.canceled_at = "canceled", account.now
            intent = account.find(payment.payment)
            if isinstance(intent, PaymentIntent) and intent.status != "succeeded":
                intent.status, intent.canceled_at = "canceled", account.now
                account.emit("payment_intent.canceled", intent)

    def reissue(self, invoice: Invoice, *, reason: str) -> Invoice:
        """Replace an open invoice: a new one with the same lines and period, the old one void."""
        account = self._account
        subscription = None if invoice.subscription is None else account.subscription(invoice.subscription)
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
        """The subscription ended: nothing of it is collected by itself any more."""
        account = self._account
        for invoice in self.of_subscription(subscription):
            if invoice.status in ("draft", "open") and invoice.auto_advance:
                invoice.auto_advance = False
                invoice.next_payment_attempt = None
                account.emit("invoice.updated", invoice)

    def of_subscription(self, subscription: Subscription) -> list[Invoice]:
        rows = self._account.shelves["invoice"].of_customer.get(subscription.customer or "", ())
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
        period = (self._account.now, self._account.now)
        lines = [self.line(amount, description, period)]
        invoice = self.draft(customer.id, lines, reason="manual", currency=currency)
        self.finalize(invoice, collects=collects)
        return invoice
