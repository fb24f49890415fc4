"""The billing engine: subscriptions that start, roll from period to period by themselves, change and end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox import shapes
from sandbox.objects import Coupon, Customer, Discount, Invoice, Item, Line, Metadata, Price, Subscription
from sandbox.periods import DAY, HOUR, add_intervals, boundary_after, period_around
from sandbox.versions import Body, Version

if TYPE_CHECKING:
    from sandbox.account import Account

FIRST_PAYMENT_WITHIN = 23 * HOUR
UPCOMING_BEFORE = 7 * DAY
PENDING_UPDATE_WITHIN = 23 * HOUR

Plan = Price | tuple[Price, int]
"""A price, alone or with a quantity."""


def _is_over(discount: Discount, moment: int) -> bool:
    return discount.used or (discount.end is not None and discount.end <= moment)


class Subscriptions:
    def __init__(self, account: "Account") -> None:
        self._account = account

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
        """Subscribe a customer to one or several prices. `percent_off`: by a coupon of its own, for ever.

        `bills_first_period=False` goes with a backdated start without prorations (an import): no first invoice.
        """
        account = self._account
        now = account.now
        priced = [(entry, 1) if isinstance(entry, Price) else entry for entry in plans]
        currency = priced[0][0].currency
        anchor = now if backdated_to is None else backdated_to
        trial_end = now + trial_seconds if trial_seconds else None
        subscription = Subscription(
            id=account.new_id("sub_"),
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
            coupon = account.catalogue.coupon(percent_off=percent_off)
        account.add(subscription)
        if coupon is not None:
            self._redeem(subscription, coupon)
        account.books.cycles[subscription.id] = int(subscription.metadata.get("renewals_before_import", 0))
        if customer.currency is None:
            customer.currency = currency
            account.emit("customer.updated", customer)
        if trial_end is not None:
            self._start_trial(subscription)
        elif not bills_first_period:
            self._become(subscription, "active", "customer.subscription.created")
        elif collection_method == "send_invoice":
            self._become(subscription, "active", "customer.subscription.created")
            account.invoices.finalize_later(self._first_invoice(subscription))
        else:
            self._start_paying(subscription, customer)
        self._watch(subscription)
        return subscription

    def _redeem(self, subscription: Subscription, coupon: Coupon) -> None:
        account = self._account
        months = coupon.duration_in_months
        ends = coupon.duration == "repeating" and months is not None
        subscription.discounts.append(
            Discount(
                id=account.new_id("di_"),
                coupon=coupon,
                start=account.now,
                end=add_intervals(account.now, "month", months or 0) if ends else None,
            )
        )
        coupon.times_redeemed += 1
        account.world.changed(account, coupon)  # Stripe tells nobody of it

    def discount(self, subscription: Subscription, coupon: Coupon) -> None:
        """Give a running subscription a discount, from its next invoice on."""
        self._redeem(subscription, coupon)
        self._account.emit("customer.subscription.updated", subscription)

    def _new_item(self, price: Price, quantity: int, anchor: int, trial_end: int | None) -> Item:
        account = self._account
        if price.interval is None:
            raise ValueError(f"{price.id} is a one-off price")
        start, end = period_around(anchor, price.interval, price.interval_count, account.now)
        return Item(
            id=account.new_id("si_"),
            created=account.now,
            price=price.id,
            quantity=None if price.metered else quantity,
            period_start=start if trial_end is None else account.now,
            period_end=end if trial_end is None else trial_end,
        )

    def _become(self, subscription: Subscription, status: str, event_type: str) -> None:
        subscription.status = status
        self._account.emit(event_type, subscription)

    def _start_trial(self, subscription: Subscription) -> None:
        subscription.status = "trialing"
        self._account.emit("customer.subscription.created", subscription)
        invoice = self._first_invoice(subscription)
        self._account.invoices.finalize(invoice)

    def _start_paying(self, subscription: Subscription, customer: Customer) -> None:
        """The first payment decides. Stripe's `created` snapshot may show the state before it or after it."""
        account = self._account
        shown_early = account.choices.random() < 0.5 or customer.payment_method not in (
            "good",
            "debit",
            "debit_fails",
        )
        if shown_early:
            account.emit("customer.subscription.created", subscription)
        invoice = self._first_invoice(subscription)
        if not shown_early:
            subscription.status = "active"
        account.invoices.finalize(invoice)
        if customer.payment_method in ("debit", "debit_fails"):
            # A delayed method counts as paid until it is known to have failed.
            subscription.status = "active"
        if not shown_early:
            account.emit("customer.subscription.created", subscription)
        elif customer.payment_method in ("debit", "debit_fails"):
            account.emit("customer.subscription.updated", subscription)
        if subscription.status == "incomplete":
            account.world.at(
                subscription.created + FIRST_PAYMENT_WITHIN, lambda: self._expire(subscription, invoice)
            )

    def _first_invoice(self, subscription: Subscription) -> Invoice:
        account = self._account
        return account.invoices.draft(
            subscription.customer or "",
            self._lines(subscription, subscription.items),
            reason="subscription_create",
            currency=subscription.currency,
            subscription=subscription,
            discounts=subscription.discounts,
        )

    def _lines(self, subscription: Subscription, items: Sequence[Item]) -> list[Line]:
        """One line per item for its running period; nothing is asked for a trial, or for what will be metered."""
        account = self._account
        lines = []
        for item in items:
            price = account.price(item.price)
            free = subscription.status == "trialing" or item.quantity is None
            amount = 0 if free else price.amount_for(item.quantity or 0)
            name = account.product(price.product).name
            lines.append(
                account.invoices.line(
                    amount,
                    f"Trial period for {name}" if subscription.status == "trialing" else name,
                    (item.period_start, item.period_end),
                    price=price.id,
                    quantity=item.quantity or 0,
                    subscription=subscription.id,
                    item=item.id,
                )
            )
        return lines

    def _expire(self, subscription: Subscription, invoice: Invoice) -> None:
        if subscription.status != "incomplete":
            return
        subscription.ended_at = self._account.now
        self._account.invoices.void(invoice)
        self._become(subscription, "incomplete_expired", "customer.subscription.updated")

    # The wheel

    def _watch(self, subscription: Subscription) -> None:
        """Set the alarms of the running period: its end, the preview of the next invoice, the end of a trial."""
        account = self._account
        end = min(item.period_end for item in subscription.items)
        account.world.at(end, lambda: self._roll(subscription))
        start = max(item.period_start for item in subscription.items)
        if end - start > 2 * UPCOMING_BEFORE:
            account.world.at(end - UPCOMING_BEFORE, lambda: self._announce(subscription, end))
        if subscription.status == "trialing":
            account.world.at(
                max(end - 3 * DAY, account.now), lambda: self._announce_trial_end(subscription, end)
            )
        if subscription.cancel_at is not None:
            account.world.at(subscription.cancel_at, lambda: self._end_if_due(subscription))

    def _roll(self, subscription: Subscription) -> None:
        account = self._account
        if subscription.status not in ("trialing", "active", "past_due", "unpaid"):
            return
        due = [item for item in subscription.items if item.period_end <= account.now]
        if not due or self._end_if_due(subscription):
            return
        account.schedules.advance(subscription)
        if subscription.status == "trialing":
            self._end_trial(subscription)
            return
        account.books.count_cycle(subscription.id)
        self._open_next_period(subscription, due)
        self._watch(subscription)

    def _open_next_period(
        self, subscription: Subscription, due: Sequence[Item], *, reason: str = "subscription_cycle"
    ) -> Invoice:
        """Move the items on and draw up the cycle invoice; the money follows about an hour later."""
        account = self._account
        boundary = account.now
        window = (min(item.period_start for item in due), boundary)
        used = self._lines_of_use(subscription, due)
        for item in due:
            self._move_on(subscription, item, boundary)
        subscription.discounts = [entry for entry in subscription.discounts if not _is_over(entry, boundary)]
        licensed = [item for item in due if account.price(item.price).meter is None]
        lines = [
            *self._lines(subscription, licensed),
            *used,
            *account.invoices.waiting_lines.pop(subscription.id, []),
        ]
        invoice = account.invoices.draft(
            subscription.customer or "",
            lines,
            reason=reason,
            currency=subscription.currency,
            subscription=subscription,
            period=window,
            discounts=subscription.discounts,
        )
        account.emit("customer.subscription.updated", subscription)
        if subscription.status == "unpaid" or subscription.pause_collection == "keep_as_draft":
            invoice.auto_advance = False
            account.emit("invoice.updated", invoice)
        else:
            account.invoices.finalize_later(invoice)
        return invoice

    def _lines_of_use(
        self, subscription: Subscription, items: Sequence[Item], *, shown_only: bool = False
    ) -> list[Line]:
        """What was used so far in the running periods of the metered items."""
        account = self._account
        lines = []
        for item in items:
            price = account.price(item.price)
            if price.meter is None:
                continue
            period = (item.period_start, item.period_end)
            used = account.metering.used(subscription.customer or "", price.meter, *period) or 0
            free = subscription.status == "trialing"
            lines.append(
                account.invoices.line(
                    0 if free else price.amount_for(used),
                    account.product(price.product).name,
                    period,
                    price=price.id,
                    quantity=used,
                    subscription=subscription.id,
                    item=item.id,
                    line_id=f"il_tmp_{item.id[3:]}" if shown_only else None,
                )
            )
        return lines

    def _move_on(self, subscription: Subscription, item: Item, boundary: int) -> None:
        price = self._account.price(item.price)
        end = boundary_after(
            subscription.billing_cycle_anchor, price.interval or "month", price.interval_count, boundary
        )
        if subscription.cancel_at is not None:
            end = min(end, max(subscription.cancel_at, boundary + 1))
        item.period_start, item.period_end = boundary, end

    def _end_trial(self, subscription: Subscription) -> None:
        account = self._account
        customer = account.customer(subscription.customer)
        if customer.payment_method is None and subscription.trial_without_card == "cancel":
            self.end(subscription, reason=None)
            return
        if customer.payment_method is None and subscription.trial_without_card == "pause":
            self._pause(subscription, "trial_end_without_payment_method")
            return
        if not subscription.in_first_trial:
            account.books.count_cycle(subscription.id)
        subscription.in_first_trial = False
        subscription.status = "active"
        self._open_next_period(subscription, subscription.items)
        self._watch(subscription)

    def _announce(self, subscription: Subscription, end: int) -> None:
        """invoice.upcoming: a preview that has no id."""
        account = self._account
        running = min(item.period_end for item in subscription.items) == end
        preview = self.preview(subscription)
        if preview is None or not running or subscription.pause_collection is not None:
            return

        def without_id(shape: Version) -> Body:
            body = shapes.render(preview, shape, account)
            del body["id"]
            return body

        account.emit_body("invoice.upcoming", preview, without_id)
        subscription.previews += 1

    def preview(self, subscription: Subscription) -> Invoice | None:
        """The invoice that the end of the running period would bring if nothing changed; None: it brings none."""
        account = self._account
        if subscription.status not in ("active", "trialing", "past_due"):
            return None
        end = min(item.period_end for item in subscription.items)
        leaving = subscription.cancel_at is not None and subscription.cancel_at <= end
        due = [item for item in subscription.items if item.period_end == end]
        lines = self._lines_of_use(subscription, due, shown_only=True)
        if leaving and not lines:
            return None
        for item in due:
            price = account.price(item.price)
            if price.meter is not None or leaving:
                continue
            anchor, interval = subscription.billing_cycle_anchor, price.interval or "month"
            lines.append(
                account.invoices.line(
                    price.amount_for(item.quantity or 0),
                    account.product(price.product).name,
                    (end, boundary_after(anchor, interval, price.interval_count, end)),
                    price=price.id,
                    quantity=item.quantity,
                    subscription=subscription.id,
                    item=item.id,
                    line_id=f"il_tmp_{item.id[3:]}",
                )
            )
        lines += account.invoices.waiting_lines.get(subscription.id, [])
        preview = Invoice(
            id="upcoming_in_" + subscription.id[4:],
            created=account.now,
            customer=subscription.customer,
            subscription=subscription.id,
            currency=subscription.currency,
            billing_reason="upcoming",
            lines=lines,
            period_start=min(item.period_start for item in due),
            period_end=end,
            discounts=[entry for entry in subscription.discounts if not _is_over(entry, end)],
        )
        balance = account.customer(subscription.customer).balance
        preview.balance_applied = min(max(preview.total, 0), max(-balance, 0))
        return preview

    def _announce_trial_end(self, subscription: Subscription, end: int) -> None:
        if subscription.status == "trialing" and subscription.items[0].period_end == end:
            self._account.emit("customer.subscription.trial_will_end", subscription)

    # What invoices report

    def invoice_settled(self, invoice: Invoice) -> None:
        """An invoice was paid, voided or given up: the subscription's debt is judged anew."""
        account = self._account
        if invoice.subscription is None:
            return
        subscription = account.subscription(invoice.subscription)
        paid = invoice.status == "paid"
        if subscription.status == "incomplete" and paid and subscription.latest_invoice == invoice.id:
            self._become(subscription, "active", "customer.subscription.updated")
        elif (
            subscription.pending_update is not None
            and paid
            and invoice.billing_reason == "subscription_update"
        ):
            self._apply_pending_update(subscription)
        elif subscription.status in ("past_due", "unpaid"):
            self._judge_debt(subscription)
        elif subscription.status == "paused" and self._pays_for_pause(subscription, invoice):
            subscription.pause_reason, subscription.resuming_invoice = None, None
            subscription.status = "active"
            account.emit("customer.subscription.resumed", subscription)
            account.emit("customer.subscription.updated", subscription)
            self._watch(subscription)

    def _pays_for_pause(self, subscription: Subscription, invoice: Invoice) -> bool:
        if subscription.resuming_invoice is not None:
            return invoice.id == subscription.resuming_invoice and invoice.status == "paid"
        owed = subscription.pause_reason in ("first_payment_failure", "final_payment_failure")
        return owed and invoice.status in ("paid", "uncollectible")

    def _judge_debt(self, subscription: Subscription) -> None:
        """Stripe's rule: the latest invoice that is not void decides; drafts count only for an unpaid one."""
        idle = {"void"} if subscription.status == "unpaid" else {"void", "draft"}
        invoices = [
            invoice
            for invoice in self._account.invoices.of_subscription(subscription)
            if invoice.status not in idle
        ]
        if not invoices or invoices[-1].status in ("paid", "uncollectible"):
            self._become(subscription, "active", "customer.subscription.updated")

    def payment_failed(self, invoice: Invoice, *, last: bool) -> None:
        """A collection failed, or (send_invoice) the due date passed."""
        account = self._account
        if invoice.subscription is None:
            return
        subscription = account.subscription(invoice.subscription)
        if subscription.status == "active" and invoice.billing_reason != "subscription_create":
            if subscription.pause_on_first_failure:
                self._pause(subscription, "first_payment_failure")
            elif subscription.pending_update is None:
                self._become(subscription, "past_due", "customer.subscription.updated")
        elif subscription.status == "active" and subscription.collection_method == "send_invoice":
            self._become(subscription, "past_due", "customer.subscription.updated")
        if not last or subscription.status != "past_due":
            return
        match subscription.after_retries:
            case "cancel":
                self.end(subscription, reason="payment_failed")
            case "unpaid":
                self._become(subscription, "unpaid", "customer.subscription.updated")
            case "pause":
                self._pause(subscription, "final_payment_failure")
            case _:
                # It stays past_due.
                pass

    # Pause and resume

    def _pause(self, subscription: Subscription, reason: str) -> None:
        subscription.pause_reason = reason
        subscription.status = "paused"
        self._account.emit("customer.subscription.paused", subscription)
        self._account.emit("customer.subscription.updated", subscription)

    def pause(self, subscription: Subscription) -> None:
        """The pause endpoint: no periods and no invoices until it is resumed."""
        self._pause(subscription, "pause_requested")

    def resume(self, subscription: Subscription) -> Invoice:
        """Resume with a new period from now; it stays paused until the invoice for that period is paid."""
        account = self._account
        self._restart_periods(subscription)
        invoice = self._invoice_change(subscription, self._lines(subscription, subscription.items))
        subscription.resuming_invoice = invoice.id
        account.emit("customer.subscription.updated", subscription)
        account.invoices.finalize(invoice)
        return invoice

    def pause_collection(self, subscription: Subscription, behavior: str | None) -> None:
        """Stop (or, with None, go on) asking for money: void, mark_uncollectible, keep_as_draft. The cycles go on."""
        subscription.pause_collection = behavior
        self._account.emit("customer.subscription.updated", subscription)

    # Cancel

    def end(self, subscription: Subscription, *, reason: str | None = "cancellation_requested") -> None:
        """Over, now."""
        account = self._account
        subscription.status, subscription.ended_at = "canceled", account.now
        if subscription.canceled_at is None:
            subscription.canceled_at = account.now
        subscription.cancellation_reason = subscription.cancellation_reason or reason
        account.emit("customer.subscription.deleted", subscription)
        account.schedules.subscription_ended(subscription)
        account.invoices.stop_advancing(subscription)

    def _end_if_due(self, subscription: Subscription) -> bool:
        due = subscription.cancel_at is not None and subscription.cancel_at <= self._account.now
        if due and subscription.ended_at is None:
            self.end(subscription)
        return due

    def cancel_at_period_end(self, subscription: Subscription) -> None:
        """Cancel at the end of the paid (or trial) period, the way of the API."""
        end = max(item.period_end for item in subscription.items)
        self._schedule_end(subscription, end, flag=True)

    def cancel_in_portal(self, subscription: Subscription) -> None:
        """The customer cancels in the portal: in flexible mode only `cancel_at` tells."""
        end = max(item.period_end for item in subscription.items)
        self._schedule_end(subscription, end, flag=subscription.billing_mode == "classic")

    def cancel_at(self, subscription: Subscription, moment: int) -> None:
        """End at a given moment. In classic mode that cuts a trial that would run longer, for good."""
        cuts = subscription.status == "trialing" and subscription.billing_mode == "classic"
        if cuts and subscription.trial_end is not None and moment < subscription.trial_end:
            subscription.trial_end = subscription.billing_cycle_anchor = moment
        for item in subscription.items:
            item.period_end = min(item.period_end, moment)
        self._schedule_end(subscription, moment, flag=False)

    def _schedule_end(self, subscription: Subscription, moment: int, *, flag: bool) -> None:
        account = self._account
        subscription.cancel_at, subscription.cancel_at_period_end = moment, flag
        subscription.canceled_at = account.now
        subscription.cancellation_reason = "cancellation_requested"
        account.emit("customer.subscription.updated", subscription)
        account.world.at(moment, lambda: self._end_if_due(subscription))

    def keep(self, subscription: Subscription) -> None:
        """Take a scheduled cancellation back."""
        subscription.cancel_at, subscription.cancel_at_period_end = None, False
        subscription.canceled_at, subscription.cancellation_reason = None, None
        self._account.emit("customer.subscription.updated", subscription)
        # The cancellation may have cut the period, and with it the trial: it ends then, not at its first end.
        self._watch(subscription)

    # Changes

    def _invoice_change(
        self, subscription: Subscription, lines: list[Line], *, reason: str = "subscription_update"
    ) -> Invoice:
        return self._account.invoices.draft(
            subscription.customer or "",
            lines,
            reason=reason,
            currency=subscription.currency,
            subscription=subscription,
            discounts=subscription.discounts,
        )

    def _restart_periods(self, subscription: Subscription) -> None:
        now = self._account.now
        subscription.billing_cycle_anchor = now
        for item in subscription.items:
            self._move_on(subscription, item, now)

    def move_trial_end(self, subscription: Subscription, moment: int) -> None:
        """Set `trial_end`: prolongs a running trial, or gives a paying subscription another one."""
        account = self._account
        running = subscription.status == "trialing"
        subscription.trial_end = subscription.billing_cycle_anchor = moment
        if not running and (subscription.billing_mode == "flexible" or subscription.trial_start is None):
            # Classic mode keeps the start of the first trial for ever.
            subscription.trial_start = account.now
        for item in subscription.items:
            item.period_start = item.period_start if running else account.now
            item.period_end = moment
        subscription.status = "trialing"
        if not running:
            account.invoices.finalize(
                self._invoice_change(subscription, self._lines(subscription, subscription.items))
            )
        account.emit("customer.subscription.updated", subscription)
        self._watch(subscription)

    def end_trial_now(self, subscription: Subscription, *, reason: str = "subscription_cycle") -> None:
        """Set `trial_end=now`: the first paid period starts, its invoice is collected at once.

        Stripe does not say what billing_reason that invoice has: subscription_cycle or subscription_update.
        """
        account = self._account
        subscription.trial_end = subscription.billing_cycle_anchor = account.now
        for item in subscription.items:
            item.period_end = account.now
        subscription.in_first_trial = False
        subscription.status = "active"
        account.emit("customer.subscription.trial_will_end", subscription)
        account.invoices.finalize(self._open_next_period(subscription, subscription.items, reason=reason))
        self._watch(subscription)

    def set_quantity(self, subscription: Subscription, quantity: int, *, invoices_now: bool) -> None:
        """Change the first item's quantity; the difference is invoiced now or with the next cycle."""
        account = self._account
        item = subscription.items[0]
        line = self._proration(subscription, item, quantity)
        item.quantity = quantity
        account.emit("customer.subscription.updated", subscription)
        if invoices_now:
            account.invoices.finalize(self._invoice_change(subscription, [line]))
        else:
            account.invoices.waiting_lines[subscription.id].append(line)

    def _proration(self, subscription: Subscription, item: Item, quantity: int) -> Line:
        account = self._account
        price = account.price(item.price)
        left, whole = item.period_end - account.now, item.period_end - item.period_start
        difference = price.amount_for(quantity) - price.amount_for(item.quantity or 0)
        amount = difference * left // whole
        return account.invoices.line(
            amount,
            "Remaining time after a change",
            (account.now, item.period_end),
            price=price.id,
            quantity=quantity,
            subscription=subscription.id,
            item=item.id,
            proration=True,
        )

    def request_quantity(self, subscription: Subscription, quantity: int) -> Invoice:
        """Change the first item's quantity if and when the difference is paid (pending_if_incomplete)."""
        account = self._account
        item = subscription.items[0]
        expires_at = account.now + PENDING_UPDATE_WITHIN
        subscription.pending_update = {item.id: quantity}
        subscription.pending_update_expires_at = expires_at
        account.emit("customer.subscription.updated", subscription)
        invoice = self._invoice_change(subscription, [self._proration(subscription, item, quantity)])
        account.invoices.finalize(invoice)
        account.world.at(expires_at, lambda: self._expire_pending_update(subscription, invoice))
        return invoice

    def _apply_pending_update(self, subscription: Subscription) -> None:
        for item in subscription.items:
            item.quantity = (subscription.pending_update or {}).get(item.id, item.quantity)
        subscription.pending_update = subscription.pending_update_expires_at = None
        self._account.emit("customer.subscription.pending_update_applied", subscription)
        self._account.emit("customer.subscription.updated", subscription)

    def _expire_pending_update(self, subscription: Subscription, invoice: Invoice) -> None:
        if subscription.pending_update is None or invoice.status != "open":
            return
        subscription.pending_update = subscription.pending_update_expires_at = None
        self._account.emit("customer.subscription.pending_update_expired", subscription)
        self._account.emit("customer.subscription.updated", subscription)
        self._account.invoices.void(invoice)

    def change_plan(self, subscription: Subscription, price: Price) -> None:
        """Put the first item on another price. Another interval restarts the period in classic mode, at once."""
        account = self._account
        item = subscription.items[0]
        same_interval = account.price(item.price).interval == price.interval
        item.price = price.id
        if same_interval:
            account.emit("customer.subscription.updated", subscription)
            return
        self.restart_now(subscription)

    def restart_now(self, subscription: Subscription) -> None:
        """billing_cycle_anchor=now: a whole new period from now, invoiced at once."""
        self._restart_periods(subscription)
        invoice = self._invoice_change(subscription, self._lines(subscription, subscription.items))
        self._account.emit("customer.subscription.updated", subscription)
        self._account.invoices.finalize(invoice)
        self._watch(subscription)

    def bill_threshold(self, subscription: Subscription, amount: int, *, resets_anchor: bool) -> None:
        """Metered use passed the threshold: it is invoiced before the period is over."""
        account = self._account
        item = subscription.items[0]
        line = account.invoices.line(
            amount,
            "Use over the threshold",
            (item.period_start, account.now),
            price=item.price,
            subscription=subscription.id,
            item=item.id,
        )
        if resets_anchor:
            self._restart_periods(subscription)
            account.emit("customer.subscription.updated", subscription)
            self._watch(subscription)
        account.invoices.finalize(self._invoice_change(subscription, [line], reason="subscription_threshold"))

    def bill_transition(self, subscription: Subscription, amount: int) -> None:
        """Classic schedule transition with metered use: a second cycle invoice at the boundary just passed."""
        account = self._account
        latest = account.invoices.of_subscription(subscription)[-1]
        line = account.invoices.line(
            amount,
            "Metered use",
            (latest.period_start, latest.period_end),
            price=subscription.items[0].price,
            subscription=subscription.id,
            item=subscription.items[0].id,
        )
        invoice = account.invoices.draft(
            subscription.customer or "",
            [line],
            reason="subscription_cycle",
            currency=subscription.currency,
            subscription=subscription,
            period=(latest.period_start, account.now),
        )
        account.invoices.finalize_later(invoice)

    def add_item(self, subscription: Subscription, price: Price, quantity: int = 1) -> None:
        """Another price in the same subscription, billed with the next cycle."""
        anchor = subscription.billing_cycle_anchor
        subscription.items.append(self._new_item(price, quantity, anchor, None))
        self._account.emit("customer.subscription.updated", subscription)

    def remove_item(self, subscription: Subscription) -> None:
        """Take the last item out."""
        subscription.items.pop()
        self._account.emit("customer.subscription.updated", subscription)

    def become_flexible(self, subscription: Subscription) -> None:
        """Move from classic to flexible billing mode, a one-way step."""
        subscription.billing_mode = "flexible"
        self._account.emit("customer.subscription.updated", subscription)

    def enter_last_phase(self, subscription: Subscription, until: int) -> None:
        """A schedule with end_behavior=cancel reaches its last phase: only now `cancel_at` appears."""
        subscription.cancel_at = until
        self._account.emit("customer.subscription.updated", subscription)
        self._account.world.at(until, lambda: self._end_if_due(subscription))

    def take_unknown_status(self, subscription: Subscription, status: str) -> None:
        """Stripe may bring in statuses that no reader knows yet."""
        self._become(subscription, status, "customer.subscription.updated")

    def edit_metadata(self, subscription: Subscription, metadata: Metadata) -> None:
        subscription.metadata = dict(metadata)
        self._account.emit("customer.subscription.updated", subscription)
