"""Money through Stripe: payment intents, charges, refunds, disputes. Each movement is entered in the books."""

from collections import Counter
from functools import partial
from typing import Protocol

from sandbox.objects import (
    BalanceTransaction,
    Charge,
    Customer,
    Dispute,
    EarlyFraudWarning,
    Invoice,
    PaymentIntent,
    Payout,
    Refund,
    Review,
)
from sandbox.periods import DAY, HOUR, WEEK
from sandbox.store import Store

DEBIT_SETTLES_AFTER = 5 * DAY
CANCEL_AFTER_DISPUTE = HOUR
PAID_OUT_EVERY = WEEK
PAYOUT_ARRIVES_AFTER = 2 * DAY
PAYOUTS_KEPT = 400 * DAY
DISPUTE_FEE = 1500


class PaymentsListener(Protocol):
    """How payments report to the invoices that they pay."""

    def debit_settled(self, invoice: Invoice, amount: int | None) -> None:
        """A bank debit for the invoice has come through, or (None) come back."""

    def payment_disputed(self, invoice: Invoice) -> None:
        """The payer disputes the invoice's payment, and the subscription is to end."""


class Payments:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[PaymentsListener] = []
        self._balance: Counter[str] = Counter()
        """What is on the account's balance at Stripe, by currency."""
        self._payout_due = False

    def listen(self, listener: PaymentsListener) -> None:
        self._listeners.append(listener)

    # The account's own balance

    def book(
        self, source_id: str, amount: int, currency: str, category: str, *, owner: str | None, fee: int = 0
    ) -> BalanceTransaction:
        """Enter a movement on the account's balance, which is paid out once a week."""
        store = self._store
        entry = BalanceTransaction(
            id=store.new_id("txn_"),
            created=store.now,
            customer=owner,
            amount=amount,
            currency=currency,
            fee=fee,
            category=category,
            source=source_id,
        )
        store.add(entry)
        self._balance[currency] += entry.net
        if not self._payout_due:
            self._payout_due = True
            store.clock.at(store.now + PAID_OUT_EVERY, self._pay_out)
        return entry

    def _pay_out(self) -> None:
        store = self._store
        self._payout_due = False
        for currency, amount in sorted(self._balance.items()):
            if amount <= 0:
                continue
            payout = Payout(
                id=store.new_id("po_"),
                created=store.now,
                amount=amount,
                currency=currency,
                arrival_date=store.now + PAYOUT_ARRIVES_AFTER,
            )
            entry = BalanceTransaction(
                id=store.new_id("txn_"),
                created=store.now,
                amount=-amount,
                currency=currency,
                fee=0,
                category="payout",
                source=payout.id,
            )
            payout.balance_transaction = entry.id
            store.add(entry)
            store.add(payout)
            self._balance[currency] = 0
            store.emit_aside("payout.created", payout)
            store.clock.at(payout.arrival_date, partial(self._arrive, payout))

    def _arrive(self, payout: Payout) -> None:
        payout.status = "paid"
        self._store.emit_aside("payout.paid", payout)

    def forget_payouts(self) -> None:
        """Drop payouts of long ago, as if the account had never had them (bounds a long play's memory)."""
        store = self._store
        rows = store.shelves["payout"].rows
        while rows and rows[0].created < store.now - PAYOUTS_KEPT:
            payout = rows[0]
            if isinstance(payout, Payout) and payout.balance_transaction is not None:
                store.remove(store.things[payout.balance_transaction])
            store.remove(payout)

    # Charges

    def open_intent(
        self, customer: Customer | None, amount: int, currency: str, *, invoice: str | None
    ) -> PaymentIntent:
        store = self._store
        intent = PaymentIntent(
            id=store.new_id("pi_"),
            created=store.now,
            customer=None if customer is None else customer.id,
            amount=amount,
            currency=currency,
            invoice=invoice,
        )
        store.add(intent)
        store.emit("payment_intent.created", intent)
        return intent

    def attempt(self, intent: PaymentIntent, customer: Customer, amount: int | None = None) -> str:
        """Try to take the intent's amount; returns succeeded, processing, requires_action or failed."""
        store = self._store
        method = customer.payment_method
        if method == "needs_3ds":
            intent.status = "requires_action"
            store.emit("payment_intent.requires_action", intent)
            return "requires_action"
        charge = self._new_charge(intent, customer, amount or intent.amount)
        if method in ("debit", "debit_fails"):
            charge.status, charge.method = "pending", "us_bank_account"
            intent.status = "processing"
            store.emit("payment_intent.processing", intent)
            store.emit("charge.pending", charge)
            store.clock.at(store.now + DEBIT_SETTLES_AFTER, lambda: self._settle(charge, method == "debit"))
            return "processing"
        if method != "good":
            self._fail(charge, intent)
            return "failed"
        self._succeed(charge, intent)
        return "succeeded"

    def _new_charge(
        self, intent: PaymentIntent, customer: Customer, amount: int, *, named: bool = True
    ) -> Charge:
        store = self._store
        charge = Charge(
            id=store.new_id("ch_"),
            created=store.now,
            customer=customer.id if named else None,
            payer=customer.id,
            amount=amount,
            currency=intent.currency,
            status="pending",
            captured=False,
            payment_intent=intent.id,
            payment_method=customer.default_payment_method,
            invoice=intent.invoice,
        )
        store.add(charge)
        intent.latest_charge, intent.payment_method = charge.id, customer.default_payment_method
        return charge

    def _succeed(self, charge: Charge, intent: PaymentIntent | None) -> None:
        store = self._store
        charge.status, charge.captured, charge.amount_captured = "succeeded", True, charge.amount
        self._book_charge(charge, charge.amount)
        if intent is not None:
            intent.status, intent.amount_received = "succeeded", charge.amount
        if charge.payer is not None:
            store.books.move_cash(charge.payer, charge.currency, "gross", charge.amount)
        store.emit("charge.succeeded", charge)
        if intent is not None:
            store.emit("payment_intent.succeeded", intent)

    def _book_charge(self, charge: Charge, amount: int) -> None:
        fee = amount * 29 // 1000 + 30
        entry = self.book(charge.id, amount, charge.currency, "charge", owner=charge.payer, fee=fee)
        charge.balance_transaction = entry.id

    def _fail(self, charge: Charge, intent: PaymentIntent) -> None:
        charge.status = "failed"
        intent.status = "requires_payment_method"
        self._store.emit("charge.failed", charge)
        self._store.emit("payment_intent.payment_failed", intent)

    def _send_debit(self, charge: Charge, intent: PaymentIntent, *, succeeds: bool) -> None:
        store = self._store
        charge.method = "us_bank_account"
        intent.status = "processing"
        store.emit("payment_intent.processing", intent)
        store.emit("charge.pending", charge)
        store.clock.at(store.now + DEBIT_SETTLES_AFTER, lambda: self._settle(charge, succeeds))

    def _settle(self, charge: Charge, succeeds: bool) -> None:
        """A bank debit settles or is returned, days after it was sent."""
        store = self._store
        intent = store.find(charge.payment_intent or "")
        if charge.status != "pending" or not isinstance(intent, PaymentIntent):
            return
        if succeeds:
            self._succeed(charge, intent)
        else:
            self._fail(charge, intent)
        invoice = store.find(intent.invoice or "")
        if isinstance(invoice, Invoice):
            for listener in self._listeners:
                listener.debit_settled(invoice, charge.amount if succeeds else None)

    def pay_once(
        self, customer: Customer, amount: int, currency: str = "usd", *, named: bool = True
    ) -> tuple[PaymentIntent, Charge]:
        """A payment outside any invoice. `named=False`: the charge itself does not name the customer."""
        intent = self.open_intent(customer, amount, currency, invoice=None)
        charge = self._new_charge(intent, customer, amount, named=named)
        self._succeed(charge, intent)
        return intent, charge

    def pay_by_debit(self, customer: Customer, amount: int, *, succeeds: bool) -> Charge:
        """A bank debit outside any invoice: pending now, settled in some days."""
        intent = self.open_intent(customer, amount, "usd", invoice=None)
        charge = self._new_charge(intent, customer, amount)
        self._send_debit(charge, intent, succeeds=succeeds)
        return charge

    def authorize(
        self, customer: Customer, amount: int, currency: str = "usd", *, multicapture: bool = False
    ) -> Charge:
        """Reserve an amount on the card; nothing is paid until it is captured, once or (multicapture) several times."""
        store = self._store
        intent = self.open_intent(customer, amount, currency, invoice=None)
        intent.capture_method = "manual"
        charge = self._new_charge(intent, customer, amount)
        charge.status, charge.multicapture = "succeeded", multicapture
        intent.status = "requires_capture"
        store.emit("charge.succeeded", charge)
        store.emit("payment_intent.amount_capturable_updated", intent)
        return charge

    def capture(self, charge: Charge, amount: int) -> None:
        """Take (part of) an authorization; Stripe books the part that is released as a refund."""
        store = self._store
        charge.captured, charge.amount_captured = True, amount
        self._book_charge(charge, amount)
        store.books.move_cash(charge.payer or "", charge.currency, "gross", amount)
        released = charge.amount - amount
        if released:
            charge.amount_refunded = released
            refund = self._new_refund(charge, released, "succeeded")
            refund.releases_authorization = True
            charge.refunds.append(refund.id)
            store.emit("refund.created", refund)
        store.emit("charge.captured", charge)
        intent = store.find(charge.payment_intent or "")
        if isinstance(intent, PaymentIntent):
            intent.status, intent.amount_received = "succeeded", amount
            store.emit("payment_intent.succeeded", intent)

    def capture_some(self, charge: Charge, amount: int, *, final: bool = False) -> None:
        """Take one of several parts of an authorization. What the last one releases is not booked as a refund."""
        store = self._store
        if not charge.multicapture:
            raise ValueError(f"{charge.id} can be captured only once")
        charge.captured = final
        charge.amount_captured += amount
        self._book_charge(charge, amount)
        store.books.move_cash(charge.payer or "", charge.currency, "gross", amount)
        store.emit("charge.captured" if final else "charge.updated", charge)
        intent = store.find(charge.payment_intent or "")
        if isinstance(intent, PaymentIntent):
            intent.status = "succeeded" if final else "requires_capture"
            intent.amount_received = charge.amount_captured
            store.emit(
                "payment_intent.succeeded" if final else "payment_intent.amount_capturable_updated", intent
            )

    def cancel_authorization(self, charge: Charge) -> None:
        store = self._store
        charge.refunded, charge.amount_refunded = True, charge.amount
        intent = store.find(charge.payment_intent or "")
        if isinstance(intent, PaymentIntent):
            intent.status, intent.canceled_at = "canceled", store.now
            store.emit("payment_intent.canceled", intent)
        store.emit("charge.refunded", charge)

    # Refunds

    def _new_refund(self, charge: Charge, amount: int, status: str) -> Refund:
        store = self._store
        refund = Refund(
            id=store.new_id("re_"),
            created=store.now,
            customer=charge.customer,
            amount=amount,
            currency=charge.currency,
            charge=charge.id,
            payment_intent=charge.payment_intent,
            status=status,
        )
        store.add(refund)
        return refund

    def refund(self, charge: Charge, amount: int, *, status: str = "succeeded") -> Refund:
        """Give money back. A pending refund takes the money at once, too."""
        store = self._store
        refund = self._new_refund(charge, amount, status)
        refund.reason = "requested_by_customer"
        charge.refunds.append(refund.id)
        charge.amount_refunded += amount
        charge.refunded = charge.amount_refunded == charge.amount
        store.books.move_cash(charge.payer or "", charge.currency, "refunded", amount)
        refund.balance_transaction = self.book(
            refund.id, -amount, charge.currency, "refund", owner=charge.payer
        ).id
        store.emit("refund.created", refund)
        store.emit("charge.refunded", charge)
        return refund

    def complete_refund(self, refund: Refund) -> None:
        refund.status = "succeeded"
        self._store.emit("refund.updated", refund)
        self._store.emit("charge.refund.updated", refund)

    def undo_refund(
        self, refund: Refund, *, status: str = "failed", amount_refunded_falls_back: bool
    ) -> None:
        """The refund failed or was canceled: the money is back.

        Stripe does not say whether charge.amount_refunded falls back with it, so the caller decides.
        """
        store = self._store
        charge = store.find(refund.charge)
        if not isinstance(charge, Charge):
            raise KeyError(refund.charge)
        refund.status = status
        refund.failure_balance_transaction = self.book(
            refund.id, refund.amount, charge.currency, "refund_failure", owner=charge.payer
        ).id
        if amount_refunded_falls_back:
            charge.amount_refunded -= refund.amount
            charge.refunded = False
        store.books.move_cash(charge.payer or "", charge.currency, "refunded", -refund.amount)
        if status == "failed":
            store.emit("refund.failed", refund)
        store.emit("refund.updated", refund)
        store.emit("charge.refund.updated", refund)
        store.emit("charge.updated", charge)

    # Disputes

    def dispute(
        self,
        charge: Charge,
        *,
        amount: int | None = None,
        inquiry: bool = False,
        shown_currency: str | None = None,
        shown_amount: int | None = None,
        settled: tuple[int, str] | None = None,
        cancels_subscription: bool = False,
    ) -> Dispute:
        """The payer disputes (part of) a charge. A chargeback takes the money at once; an inquiry takes none.

        `shown_currency` and `shown_amount`: those of the payer's bank, if its currency is not the charge's.
        `settled`: what is withdrawn, if the account keeps its balance in another currency than the charge's.
        """
        store = self._store
        disputed = charge.amount if amount is None else amount
        dispute = Dispute(
            id=store.new_id("dp_"),
            created=store.now,
            customer=charge.customer,
            amount=disputed if shown_amount is None else shown_amount,
            currency=shown_currency or charge.currency,
            charge=charge.id,
            payment_intent=charge.payment_intent,
            status="warning_needs_response" if inquiry else "needs_response",
            is_charge_refundable=inquiry,
        )
        store.add(dispute)
        charge.disputed = True
        if settled is not None:
            self._move_disputed(dispute, charge, -disputed, fee=0, category="dispute", settled=settled)
        elif not inquiry:
            self._withdraw(dispute, charge, disputed)
        store.emit("charge.dispute.created", dispute)
        if not inquiry:
            store.emit("charge.dispute.funds_withdrawn", dispute)
        if cancels_subscription:
            store.clock.at(store.now + CANCEL_AFTER_DISPUTE, lambda: self._cancel_for(charge))
        return dispute

    def _withdraw(self, dispute: Dispute, charge: Charge, amount: int) -> None:
        self._move_disputed(dispute, charge, -amount, fee=DISPUTE_FEE, category="dispute")

    def _move_disputed(
        self,
        dispute: Dispute,
        charge: Charge,
        amount: int,
        *,
        fee: int,
        category: str,
        settled: tuple[int, str] | None = None,
    ) -> None:
        store = self._store
        moved, currency = (amount, charge.currency) if settled is None else settled
        dispute.balance_transactions.append(
            self.book(dispute.id, moved, currency, category, owner=charge.payer, fee=fee)
        )
        store.books.move_cash(charge.payer or "", charge.currency, "disputed", -amount)

    def move_disputed(
        self, dispute: Dispute, moved: int, currency: str, category: str, *, worth: int
    ) -> None:
        """Another movement of a dispute, such as a part that comes back, an adjustment or a fee of its own.

        `worth`: how much of the charge it gives back (or, negative, takes), in the charge's currency.
        """
        charge = self._store.find(dispute.charge)
        if not isinstance(charge, Charge):
            raise KeyError(dispute.charge)
        self._move_disputed(dispute, charge, worth, fee=0, category=category, settled=(moved, currency))
        self._store.emit("charge.dispute.updated", dispute)

    def close_dispute(self, dispute: Dispute, status: str) -> None:
        """Close it as won, lost or warning_closed; a won dispute returns the money."""
        store = self._store
        dispute.status = status
        taken = -sum(entry.amount for entry in dispute.balance_transactions)
        charge = store.find(dispute.charge)
        if status == "won" and taken and isinstance(charge, Charge):
            self._move_disputed(dispute, charge, taken, fee=0, category="dispute_reversal")
        store.emit("charge.dispute.closed", dispute)
        if status == "won" and taken:
            store.emit("charge.dispute.funds_reinstated", dispute)

    def move_dispute(self, dispute: Dispute, status: str) -> None:
        dispute.status = status
        self._store.emit("charge.dispute.updated", dispute)

    def _cancel_for(self, charge: Charge) -> None:
        invoice = self._store.find(charge.invoice or "")
        if isinstance(invoice, Invoice):
            for listener in self._listeners:
                listener.payment_disputed(invoice)

    # Suspected fraud

    def open_review(self, charge: Charge) -> Review:
        """A rule asks people to look at a charge."""
        store = self._store
        review = Review(
            id=store.new_id("prv_"),
            created=store.now,
            customer=charge.payer,
            charge=charge.id,
            payment_intent=charge.payment_intent,
        )
        store.add(review)
        charge.review = review.id
        store.emit("review.opened", review)
        return review

    def close_review(self, review: Review, reason: str = "approved") -> None:
        review.open, review.reason, review.closed_reason = False, reason, reason
        self._store.emit("review.closed", review)

    def warn_of_fraud(self, charge: Charge) -> EarlyFraudWarning:
        """The card's bank reports that it suspects fraud; no money moves."""
        store = self._store
        warning = EarlyFraudWarning(
            id=store.new_id("issfr_"),
            created=store.now,
            customer=charge.payer,
            charge=charge.id,
            payment_intent=charge.payment_intent,
        )
        store.add(warning)
        store.emit("radar.early_fraud_warning.created", warning)
        return warning

    # Connect

    def destination_charge(self, customer: Customer, amount: int, *, to: "Payments", share: int) -> Charge:
        """The platform charges and passes a share on; the connected account (`to`) sees a payment of its own."""
        intent = self.open_intent(customer, amount, "usd", invoice=None)
        charge = self._new_charge(intent, customer, amount)
        charge.transfer_destination, charge.transfer_amount = to.account_id, share
        self._succeed(charge, intent)
        to.receive_transfer(self._store.new_id("tr_"), share)
        return charge

    @property
    def account_id(self) -> str:
        return self._store.account_id

    def receive_transfer(self, transfer_id: str, amount: int) -> None:
        """Record the share of a charge that a platform passes on."""
        store = self._store
        charge = Charge(
            id=store.new_id("py_"),
            created=store.now,
            amount=amount,
            currency="usd",
            status="succeeded",
            amount_captured=amount,
            source_transfer=transfer_id,
        )
        store.add(charge)
        charge.balance_transaction = self.book(charge.id, amount, "usd", "payment", owner=None).id
        store.emit("payment.created", charge)
