"""What subscriptions are billed: lines, drafts, and the preview of the next invoice."""

from collections.abc import Sequence

from sandbox.invoices import Invoices
from sandbox.metering import Metering
from sandbox.objects import Discount, Invoice, Item, Line, Subscription
from sandbox.periods import boundary_after
from sandbox.store import Store


def is_over(discount: Discount, moment: int) -> bool:
    return discount.used or (discount.end is not None and discount.end <= moment)


class SubscriptionBilling:
    def __init__(self, store: Store, invoices: Invoices, metering: Metering) -> None:
        self._store = store
        self._invoices = invoices
        self._metering = metering

    def draft(
        self,
        subscription: Subscription,
        lines: list[Line],
        *,
        reason: str,
        period: tuple[int, int] | None = None,
    ) -> Invoice:
        """Create a draft for the subscription, with its discounts."""
        return self._invoices.draft(
            subscription.customer or "",
            lines,
            reason=reason,
            currency=subscription.currency,
            subscription=subscription,
            period=period,
            discounts=subscription.discounts,
        )

    def lines(self, subscription: Subscription, items: Sequence[Item]) -> list[Line]:
        """One line per item for its running period; 0 during a trial, and for metered items."""
        store = self._store
        lines = []
        for item in items:
            price = store.price(item.price)
            free = subscription.status == "trialing" or item.quantity is None
            amount = 0 if free else price.amount_for(item.quantity or 0)
            name = store.product(price.product).name
            lines.append(
                self._invoices.line(
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

    def lines_of_use(
        self, subscription: Subscription, items: Sequence[Item], *, shown_only: bool = False
    ) -> list[Line]:
        """One line per metered item: what was used so far in its running period."""
        store = self._store
        lines = []
        for item in items:
            price = store.price(item.price)
            if price.meter is None:
                continue
            period = (item.period_start, item.period_end)
            used = self._metering.used(subscription.customer or "", price.meter, *period) or 0
            free = subscription.status == "trialing"
            lines.append(
                self._invoices.line(
                    0 if free else price.amount_for(used),
                    store.product(price.product).name,
                    period,
                    price=price.id,
                    quantity=used,
                    subscription=subscription.id,
                    item=item.id,
                    line_id=f"il_tmp_{item.id[3:]}" if shown_only else None,
                )
            )
        return lines

    def proration(self, subscription: Subscription, item: Item, quantity: int) -> Line:
        store = self._store
        price = store.price(item.price)
        left, whole = item.period_end - store.now, item.period_end - item.period_start
        difference = price.amount_for(quantity) - price.amount_for(item.quantity or 0)
        amount = difference * left // whole
        return self._invoices.line(
            amount,
            "Remaining time after a change",
            (store.now, item.period_end),
            price=price.id,
            quantity=quantity,
            subscription=subscription.id,
            item=item.id,
            proration=True,
        )

    def preview(self, subscription: Subscription) -> Invoice | None:
        """The invoice at the end of the running period if nothing changes; None when there would be none."""
        store = self._store
        if subscription.status not in ("active", "trialing", "past_due"):
            return None
        end = min(item.period_end for item in subscription.items)
        leaving = subscription.cancel_at is not None and subscription.cancel_at <= end
        due = [item for item in subscription.items if item.period_end == end]
        lines = self.lines_of_use(subscription, due, shown_only=True)
        if leaving and not lines:
            return None
        for item in due:
            price = store.price(item.price)
            if price.meter is not None or leaving:
                continue
            anchor, interval = subscription.billing_cycle_anchor, price.interval or "month"
            lines.append(
                self._invoices.line(
                    price.amount_for(item.quantity or 0),
                    store.product(price.product).name,
                    (end, boundary_after(anchor, interval, price.interval_count, end)),
                    price=price.id,
                    quantity=item.quantity,
                    subscription=subscription.id,
                    item=item.id,
                    line_id=f"il_tmp_{item.id[3:]}",
                )
            )
        lines += self._invoices.waiting_lines.get(subscription.id, [])
        preview = Invoice(
            id="upcoming_in_" + subscription.id[4:],
            created=store.now,
            customer=subscription.customer,
            subscription=subscription.id,
            currency=subscription.currency,
            billing_reason="upcoming",
            lines=lines,
            period_start=min(item.period_start for item in due),
            period_end=end,
            discounts=[entry for entry in subscription.discounts if not is_over(entry, end)],
        )
        balance = store.customer(subscription.customer).balance
        preview.balance_applied = min(max(preview.total, 0), max(-balance, 0))
        return preview

    def bill_transition(self, subscription: Subscription, amount: int) -> None:
        """Classic schedule transition with metered use: a second cycle invoice at the boundary just passed."""
        store = self._store
        latest = self._invoices.of_subscription(subscription)[-1]
        line = self._invoices.line(
            amount,
            "Metered use",
            (latest.period_start, latest.period_end),
            price=subscription.items[0].price,
            subscription=subscription.id,
            item=subscription.items[0].id,
        )
        invoice = self._invoices.draft(
            subscription.customer or "",
            [line],
            reason="subscription_cycle",
            currency=subscription.currency,
            subscription=subscription,
            period=(latest.period_start, store.now),
        )
        self._invoices.finalize_later(invoice)
