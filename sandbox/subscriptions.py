"""The billing engine: subscriptions that start, roll from period to period by themselves, change and end."""

from collections.abc import Sequence
from typing import Protocol

from sandbox import shapes
from sandbox.catalogue import Catalogue
from sandbox.invoices import Invoices
from sandbox.objects import Coupon, Customer, Discount, Invoice, Item, Line, Metadata, Price, Subscription
from sandbox.periods import DAY, HOUR, add_intervals, boundary_after, period_around
from sandbox.store import Store
from sandbox.subscription_billing import SubscriptionBilling, is_over
from sandbox.versions import Body, Version

FIRST_PAYMENT_WITHIN = 23 * HOUR
UPCOMING_BEFORE = 7 * DAY
PENDING_UPDATE_WITHIN = 23 * HOUR

Plan = Price | tuple[Price, int]
"""A price, alone or with a quantity."""


class SubscriptionsListener(Protocol):
    """How subscriptions report to their schedules."""

    def period_over(self, subscription: Subscription) -> None:
        """A period has ended and the next one is about to be invoiced."""

    def subscription_ended(self, subscription: Subscription) -> None: ...


class Subscriptions:
    def __init__(
        self, store: Store, catalogue: Catalogue, invoices: Invoices, billing: SubscriptionBilling
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._invoices = invoices
        self._billing = billing
        self._listeners: list[SubscriptionsListener] = []

    def listen(self, listener: SubscriptionsListener) -> None:
        self._listeners.append(listener)

    # Start

    def start(
        self,
        customer: Customer,
        plans: Sequence[Plan],
        *,
        trial_seconds: int = 0,
        trial_without_card: str = "create_invoice",
        billing_mode: str = "classic",
        collection_method: str = "charge_automatically",
        days_until_due: int | None = None,
        backdated_to: int | None = None,
        bills_first_period: bool = True,
        after_retries: str = "cancel",
        pause_on_first_failure: bool = False,
        percent_off: int = 0,
        coupon: Coupon | None = None,
        metadata: Metadata | None = None,
    ) -> Subscription:
        """Subscribe a customer to one or several prices. `percent_off`: by a coupon of its own, forever.

        `bills_first_period=False` goes with a backdated start without prorations (an import): no first invoice.
        """
        store = self._store
        now = store.now
        priced = [(entry, 1) if isinstance(entry, Price) else entry for entry in plans]
        currency = priced[0][0].currency
        anchor = now if backdated_to is None else backdated_to
        trial_end = now + trial_seconds if trial_seconds else None
        subscription = Subscription(
            id=store.new_id("sub_"),
            created=now,
            customer=customer.id,
            test_clock=customer.test_clock,
            status="incomplete",
            items=[self._new_item(price, count, anchor, trial_end) for price, count in priced],
            currency=currency,
            start_date=anchor,
            billing_cycle_anchor=trial_end or anchor,
            billing_mode=billing_mode,
            collection_method=collection_method,
            days_until_due=days_until_due,
            trial_start=now if trial_end else None,
            trial_end=trial_end,
            trial_without_card=trial_without_card,
            after_retries=after_retries,
            pause_on_first_failure=pause_on_first_failure,
            metadata=dict(metadata or {}),
            in_first_trial=trial_end is not None,
        )
        if percent_off:
            coupon = self._catalogue.coupon(percent_off=percent_off)
        store.add(subscription)
        if coupon is not None:
            self._redeem(subscription, coupon)
        store.books.cycles[subscription.id] = int(subscription.metadata.get("renewals_before_import", 0))
        if customer.currency is None:
            customer.currency = currency
            store.emit("customer.updated", customer)
        if trial_end is not None:
            self._start_trial(subscription)
        elif not bills_first_period:
            self._become(subscription, "active", "customer.subscription.created")
        elif collection_method == "send_invoice":
            self._become(subscription, "active", "customer.subscription.created")
            self._invoices.finalize_later(self._first_invoice(subscription))
        else:
            self._start_paying(subscription, customer)
        self._watch(subscription)
        return subscription

    def _redeem(self, subscription: Subscription, coupon: Coupon) -> None:
        store = self._store
        months = coupon.duration_in_months
        ends = coupon.duration == "repeating" and months is not None
        subscription.discounts.append(
            Discount(
                id=store.new_id("di_"),
                coupon=coupon,
                start=store.now,
                end=add_intervals(store.now, "month", months or 0) if ends else None,
            )
        )
        coupon.times_redeemed += 1
        store.changed(coupon)  # Stripe sends no event for it

    def discount(self, subscription: Subscription, coupon: Coupon) -> None:
        """Give a running subscription a discount, from its next invoice on."""
        self._redeem(subscription, coupon)
        self._store.emit("customer.subscription.updated", subscription)

    def _new_item(self, price: Price, quantity: int, anchor: int, trial_end: int | None) -> Item:
        store = self._store
        if price.interval is None:
            raise ValueError(f"{price.id} is a one-off price")
        start, end = period_around(anchor, price.interval, price.interval_count, store.now)
        return Item(
            id=store.new_id("si_"),
            created=store.now,
            price=price.id,
            quantity=None if price.metered else quantity,
            period_start=start if trial_end is None else store.now,
            period_end=end if trial_end is None else trial_end,
        )

    def _become(self, subscription: Subscription, status: str, event_type: str) -> None:
        subscription.status = status
        self._store.emit(event_type, subscription)

    def _start_trial(self, subscription: Subscription) -> None:
        subscription.status = "trialing"
        self._store.emit("customer.subscription.created", subscription)
        invoice = self._first_invoice(subscription)
        self._invoices.finalize(invoice)

    def _start_paying(self, subscription: Subscription, customer: Customer) -> None:
        """The first payment decides. Stripe's `created` snapshot may show the state before it or after it."""
        store = self._store
        shown_early = store.choices.random() < 0.5 or customer.payment_method not in (
            "good",
            "debit",
            "debit_fails",
        )
        if shown_early:
            store.emit("customer.subscription.created", subscription)
        invoice = self._first_invoice(subscription)
        if not shown_early:
            subscription.status = "active"
        self._invoices.finalize(invoice)
        if customer.payment_method in ("debit", "debit_fails"):
            # A delayed method counts as paid until it is known to have failed.
            subscription.status = "active"
        if not shown_early:
            store.emit("customer.subscription.created", subscription)
        elif customer.payment_method in ("debit", "debit_fails"):
            store.emit("customer.subscription.updated", subscription)
        if subscription.status == "incomplete":
            store.clock.at(
                subscription.created + FIRST_PAYMENT_WITHIN, lambda: self._expire(subscription, invoice)
            )

    def _first_invoice(self, subscription: Subscription) -> Invoice:
        lines = self._billing.lines(subscription, subscription.items)
        return self._billing.draft(subscription, lines, reason="subscription_create")

    def _expire(self, subscription: Subscription, invoice: Invoice) -> None:
        if subscription.status != "incomplete":
            return
        subscription.ended_at = self._store.now
        self._invoices.void(invoice)
        self._become(subscription, "incomplete_expired", "customer.subscription.updated")

    # From period to period

    def _watch(self, subscription: Subscription) -> None:
        """Set the alarms of the running period: its end, the preview of the next invoice, the end of a trial."""
        store = self._store
        end = min(item.period_end for item in subscription.items)
        store.clock.at(end, lambda: self._roll(subscription))
        start = max(item.period_start for item in subscription.items)
        if end - start > 2 * UPCOMING_BEFORE:
            store.clock.at(end - UPCOMING_BEFORE, lambda: self._announce(subscription, end))
        if subscription.status == "trialing":
            store.clock.at(max(end - 3 * DAY, store.now), lambda: self._announce_trial_end(subscription, end))
        if subscription.cancel_at is not None:
            store.clock.at(subscription.cancel_at, lambda: self._end_if_due(subscription))

    def _roll(self, subscription: Subscription) -> None:
        store = self._store
        if subscription.status not in ("trialing", "active", "past_due", "unpaid"):
            return
        due = [item for item in subscription.items if item.period_end <= store.now]
        if not due or self._end_if_due(subscription):
            return
        for listener in self._listeners:
            listener.period_over(subscription)
        if subscription.status == "trialing":
            self._end_trial(subscription)
            return
        store.books.count_cycle(subscription.id)
        self._open_next_period(subscription, due)
        self._watch(subscription)

    def _open_next_period(
        self, subscription: Subscription, due: Sequence[Item], *, reason: str = "subscription_cycle"
    ) -> Invoice:
        """Move the items on and draft the cycle invoice, which is collected about an hour later."""
        store = self._store
        boundary = store.now
        window = (min(item.period_start for item in due), boundary)
        used = self._billing.lines_of_use(subscription, due)
        for item in due:
            self._move_on(subscription, item, boundary)
        subscription.discounts = [entry for entry in subscription.discounts if not is_over(entry, boundary)]
        licensed = [item for item in due if store.price(item.price).meter is None]
        lines = [
            *self._billing.lines(subscription, licensed),
            *used,
            *self._invoices.waiting_lines.pop(subscription.id, []),
        ]
        invoice = self._billing.draft(subscription, lines, reason=reason, period=window)
        store.emit("customer.subscription.updated", subscription)
        if subscription.status == "unpaid" or subscription.pause_collection == "keep_as_draft":
            invoice.auto_advance = False
            store.emit("invoice.updated", invoice)
        else:
            self._invoices.finalize_later(invoice)
        return invoice

    def _move_on(self, subscription: Subscription, item: Item, boundary: int) -> None:
        price = self._store.price(item.price)
        end = boundary_after(
            subscription.billing_cycle_anchor, price.interval or "month", price.interval_count, boundary
        )
        if subscription.cancel_at is not None:
            end = min(end, max(subscription.cancel_at, boundary + 1))
        item.period_start, item.period_end = boundary, end

    def _end_trial(self, subscription: Subscription) -> None:
        store = self._store
        customer = store.customer(subscription.customer)
        if customer.payment_method is None and subscription.trial_without_card == "cancel":
            self.end(subscription, reason=None)
            return
        if customer.payment_method is None and subscription.trial_without_card == "pause":
            self.pause_for(subscription, "trial_end_without_payment_method")
            return
        if not subscription.in_first_trial:
            store.books.count_cycle(subscription.id)
        subscription.in_first_trial = False
        subscription.status = "active"
        self._open_next_period(subscription, subscription.items)
        self._watch(subscription)

    def _announce(self, subscription: Subscription, end: int) -> None:
        """invoice.upcoming: a preview that has no id."""
        store = self._store
        running = min(item.period_end for item in subscription.items) == end
        preview = self._billing.preview(subscription)
        if preview is None or not running or subscription.pause_collection is not None:
            return

        def without_id(shape: Version) -> Body:
            body = shapes.render(preview, shape, store)
            del body["id"]
            return body

        store.emit_body("invoice.upcoming", preview, without_id)
        subscription.previews += 1

    def _announce_trial_end(self, subscription: Subscription, end: int) -> None:
        if subscription.status == "trialing" and subscription.items[0].period_end == end:
            self._store.emit("customer.subscription.trial_will_end", subscription)

    # Pause and resume

    def pause_for(self, subscription: Subscription, reason: str) -> None:
        """Pause it, for one of the reasons of `Subscription.pause_reason`."""
        subscription.pause_reason = reason
        subscription.status = "paused"
        self._store.emit("customer.subscription.paused", subscription)
        self._store.emit("customer.subscription.updated", subscription)

    def pause(self, subscription: Subscription) -> None:
        """The pause endpoint: no periods and no invoices until it is resumed."""
        self.pause_for(subscription, "pause_requested")

    def resume(self, subscription: Subscription) -> Invoice:
        """Resume with a new period from now; it stays paused until the invoice for that period is paid."""
        store = self._store
        self._restart_periods(subscription)
        invoice = self._invoice_whole_period(subscription)
        subscription.resuming_invoice = invoice.id
        store.emit("customer.subscription.updated", subscription)
        self._invoices.finalize(invoice)
        return invoice

    def end_pause(self, subscription: Subscription) -> None:
        """End a pause: what it waited for is paid."""
        subscription.pause_reason, subscription.resuming_invoice = None, None
        subscription.status = "active"
        self._store.emit("customer.subscription.resumed", subscription)
        self._store.emit("customer.subscription.updated", subscription)
        self._watch(subscription)

    def pause_collection(self, subscription: Subscription, behavior: str | None) -> None:
        """Stop collecting (None: collect again): void, mark_uncollectible, keep_as_draft. The cycles continue."""
        subscription.pause_collection = behavior
        self._store.emit("customer.subscription.updated", subscription)

    # Cancel

    def end(self, subscription: Subscription, *, reason: str | None = "cancellation_requested") -> None:
        """Cancel it now."""
        store = self._store
        subscription.status, subscription.ended_at = "canceled", store.now
        if subscription.canceled_at is None:
            subscription.canceled_at = store.now
        subscription.cancellation_reason = subscription.cancellation_reason or reason
        store.emit("customer.subscription.deleted", subscription)
        for listener in self._listeners:
            listener.subscription_ended(subscription)
        self._invoices.stop_advancing(subscription)

    def _end_if_due(self, subscription: Subscription) -> bool:
        due = subscription.cancel_at is not None and subscription.cancel_at <= self._store.now
        if due and subscription.ended_at is None:
            self.end(subscription)
        return due

    def cancel_at_period_end(self, subscription: Subscription) -> None:
        """Cancel at the end of the paid (or trial) period, as the API does."""
        end = max(item.period_end for item in subscription.items)
        self._schedule_end(subscription, end, flag=True)

    def cancel_in_portal(self, subscription: Subscription) -> None:
        """The customer cancels in the portal: in flexible mode only `cancel_at` is set."""
        end = max(item.period_end for item in subscription.items)
        self._schedule_end(subscription, end, flag=subscription.billing_mode == "classic")

    def cancel_at(self, subscription: Subscription, moment: int) -> None:
        """End it at a given moment. In classic mode this shortens a trial that would run longer, for good."""
        cuts = subscription.status == "trialing" and subscription.billing_mode == "classic"
        if cuts and subscription.trial_end is not None and moment < subscription.trial_end:
            subscription.trial_end = subscription.billing_cycle_anchor = moment
        for item in subscription.items:
            item.period_end = min(item.period_end, moment)
        self._schedule_end(subscription, moment, flag=False)

    def _schedule_end(self, subscription: Subscription, moment: int, *, flag: bool) -> None:
        store = self._store
        subscription.cancel_at, subscription.cancel_at_period_end = moment, flag
        subscription.canceled_at = store.now
        subscription.cancellation_reason = "cancellation_requested"
        store.emit("customer.subscription.updated", subscription)
        store.clock.at(moment, lambda: self._end_if_due(subscription))

    def keep(self, subscription: Subscription) -> None:
        """Take a scheduled cancellation back."""
        subscription.cancel_at, subscription.cancel_at_period_end = None, False
        subscription.canceled_at, subscription.cancellation_reason = None, None
        self._store.emit("customer.subscription.updated", subscription)
        # The cancellation may have cut the period, and with it the trial: it ends then, not at its first end.
        self._watch(subscription)

    # Changes

    def _invoice_change(
        self, subscription: Subscription, lines: list[Line], *, reason: str = "subscription_update"
    ) -> Invoice:
        return self._billing.draft(subscription, lines, reason=reason)

    def _invoice_whole_period(self, subscription: Subscription) -> Invoice:
        return self._invoice_change(subscription, self._billing.lines(subscription, subscription.items))

    def _restart_periods(self, subscription: Subscription) -> None:
        now = self._store.now
        subscription.billing_cycle_anchor = now
        for item in subscription.items:
            self._move_on(subscription, item, now)

    def move_trial_end(self, subscription: Subscription, moment: int) -> None:
        """Set `trial_end`: prolongs a running trial, or gives a paying subscription another one."""
        store = self._store
        running = subscription.status == "trialing"
        subscription.trial_end = subscription.billing_cycle_anchor = moment
        if not running and (subscription.billing_mode == "flexible" or subscription.trial_start is None):
            # Classic mode always keeps the start of the first trial.
            subscription.trial_start = store.now
        for item in subscription.items:
            item.period_start = item.period_start if running else store.now
            item.period_end = moment
        subscription.status = "trialing"
        if not running:
            self._invoices.finalize(self._invoice_whole_period(subscription))
        store.emit("customer.subscription.updated", subscription)
        self._watch(subscription)

    def end_trial_now(self, subscription: Subscription, *, reason: str = "subscription_cycle") -> None:
        """Set `trial_end=now`: the first paid period starts, its invoice is collected at once.

        Stripe does not say what billing_reason that invoice has: subscription_cycle or subscription_update.
        """
        store = self._store
        subscription.trial_end = subscription.billing_cycle_anchor = store.now
        for item in subscription.items:
            item.period_end = store.now
        subscription.in_first_trial = False
        subscription.status = "active"
        store.emit("customer.subscription.trial_will_end", subscription)
        self._invoices.finalize(self._open_next_period(subscription, subscription.items, reason=reason))
        self._watch(subscription)

    def set_quantity(self, subscription: Subscription, quantity: int, *, invoices_now: bool) -> None:
        """Change the first item's quantity; the difference is invoiced now or with the next cycle."""
        store = self._store
        item = subscription.items[0]
        line = self._billing.proration(subscription, item, quantity)
        item.quantity = quantity
        store.emit("customer.subscription.updated", subscription)
        if invoices_now:
            self._invoices.finalize(self._invoice_change(subscription, [line]))
        else:
            self._invoices.waiting_lines[subscription.id].append(line)

    def request_quantity(self, subscription: Subscription, quantity: int) -> Invoice:
        """Change the first item's quantity if and when the difference is paid (pending_if_incomplete)."""
        store = self._store
        item = subscription.items[0]
        expires_at = store.now + PENDING_UPDATE_WITHIN
        subscription.pending_update = {item.id: quantity}
        subscription.pending_update_expires_at = expires_at
        store.emit("customer.subscription.updated", subscription)
        invoice = self._invoice_change(subscription, [self._billing.proration(subscription, item, quantity)])
        self._invoices.finalize(invoice)
        store.clock.at(expires_at, lambda: self._expire_pending_update(subscription, invoice))
        return invoice

    def apply_pending_update(self, subscription: Subscription) -> None:
        """The change that waited for a payment takes effect."""
        for item in subscription.items:
            item.quantity = (subscription.pending_update or {}).get(item.id, item.quantity)
        subscription.pending_update = subscription.pending_update_expires_at = None
        self._store.emit("customer.subscription.pending_update_applied", subscription)
        self._store.emit("customer.subscription.updated", subscription)

    def _expire_pending_update(self, subscription: Subscription, invoice: Invoice) -> None:
        if subscription.pending_update is None or invoice.status != "open":
            return
        subscription.pending_update = subscription.pending_update_expires_at = None
        self._store.emit("customer.subscription.pending_update_expired", subscription)
        self._store.emit("customer.subscription.updated", subscription)
        self._invoices.void(invoice)

    def change_plan(self, subscription: Subscription, price: Price) -> None:
        """Put the first item on another price. Another interval restarts the period in classic mode, at once."""
        store = self._store
        item = subscription.items[0]
        same_interval = store.price(item.price).interval == price.interval
        item.price = price.id
        if same_interval:
            store.emit("customer.subscription.updated", subscription)
            return
        self.restart_now(subscription)

    def restart_now(self, subscription: Subscription) -> None:
        """billing_cycle_anchor=now: a whole new period from now, invoiced at once."""
        self._restart_periods(subscription)
        invoice = self._invoice_whole_period(subscription)
        self._store.emit("customer.subscription.updated", subscription)
        self._invoices.finalize(invoice)
        self._watch(subscription)

    def bill_threshold(self, subscription: Subscription, amount: int, *, resets_anchor: bool) -> None:
        """Metered use passed the threshold: it is invoiced before the period is over."""
        store = self._store
        item = subscription.items[0]
        line = self._invoices.line(
            amount,
            "Use over the threshold",
            (item.period_start, store.now),
            price=item.price,
            subscription=subscription.id,
            item=item.id,
        )
        if resets_anchor:
            self._restart_periods(subscription)
            store.emit("customer.subscription.updated", subscription)
            self._watch(subscription)
        self._invoices.finalize(self._invoice_change(subscription, [line], reason="subscription_threshold"))

    def add_item(self, subscription: Subscription, price: Price, quantity: int = 1) -> None:
        """Another price in the same subscription, billed with the next cycle."""
        anchor = subscription.billing_cycle_anchor
        subscription.items.append(self._new_item(price, quantity, anchor, None))
        self._store.emit("customer.subscription.updated", subscription)

    def remove_item(self, subscription: Subscription) -> None:
        """Take the last item out."""
        subscription.items.pop()
        self._store.emit("customer.subscription.updated", subscription)

    def become_flexible(self, subscription: Subscription) -> None:
        """Move from classic to flexible billing mode, a one-way step."""
        subscription.billing_mode = "flexible"
        self._store.emit("customer.subscription.updated", subscription)

    def enter_last_phase(self, subscription: Subscription, until: int) -> None:
        """A schedule with end_behavior=cancel reaches its last phase: only now `cancel_at` appears."""
        subscription.cancel_at = until
        self._store.emit("customer.subscription.updated", subscription)
        self._store.clock.at(until, lambda: self._end_if_due(subscription))

    def set_status(self, subscription: Subscription, status: str) -> None:
        """Set a status: one that follows from what it owes, or one that no reader knows yet."""
        self._become(subscription, status, "customer.subscription.updated")

    def edit_metadata(self, subscription: Subscription, metadata: Metadata) -> None:
        subscription.metadata = dict(metadata)
        self._store.emit("customer.subscription.updated", subscription)
