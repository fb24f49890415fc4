"""Subscription schedules: what will begin, and what will change, at moments set beforehand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.objects import Customer, Phase, Price, Subscription, SubscriptionSchedule
from sandbox.periods import boundary_after

if TYPE_CHECKING:
    from sandbox.account import Account


class Schedules:
    def __init__(self, account: "Account") -> None:
        self._account = account

    def create(
        self,
        customer: Customer,
        plans: Sequence[tuple[Price, int]],
        *,
        starts_at: int,
        lasts_seconds: int,
        end_behavior: str = "release",
    ) -> SubscriptionSchedule:
        """Let a subscription begin at a later moment; until then there is none."""
        phase = Phase(
            plans=tuple((price.id, quantity) for price, quantity in plans),
            start=starts_at,
            end=starts_at + lasts_seconds,
        )
        schedule = self._add(customer.id, [phase], plans[0][0].currency, end_behavior)
        self._account.world.at(starts_at, lambda: self._begin(schedule))
        return schedule

    def _add(
        self, customer_id: str, phases: list[Phase], currency: str, end_behavior: str
    ) -> SubscriptionSchedule:
        account = self._account
        schedule = SubscriptionSchedule(
            id=account.new_id("sub_sched_"),
            created=account.now,
            customer=customer_id,
            phases=phases,
            currency=currency,
            end_behavior=end_behavior,
        )
        account.add(schedule)
        account.emit("subscription_schedule.created", schedule)
        return schedule

    def _begin(self, schedule: SubscriptionSchedule) -> None:
        account = self._account
        if schedule.status != "not_started":
            return
        plans = [(account.price(price_id), quantity) for price_id, quantity in schedule.phases[0].plans]
        subscription = account.subscriptions.start(account.customer(schedule.customer), plans)
        self._take_over(schedule, subscription)

    def _take_over(self, schedule: SubscriptionSchedule, subscription: Subscription) -> None:
        account = self._account
        schedule.status, schedule.phases_begun = "active", 1
        schedule.subscription, subscription.schedule = subscription.id, schedule.id
        account.emit("subscription_schedule.updated", schedule)
        account.emit("customer.subscription.updated", subscription)
        self._await_end_of_phase(schedule)

    def _await_end_of_phase(self, schedule: SubscriptionSchedule) -> None:
        phase = schedule.phases[schedule.phases_begun - 1]
        if schedule.phases_begun == len(schedule.phases) and schedule.end_behavior == "cancel":
            subscription = self._account.subscription(schedule.subscription)
            self._account.subscriptions.enter_last_phase(subscription, phase.end)
        self._account.world.at(phase.end, lambda: self._end_phase(schedule, phase))

    def _end_phase(self, schedule: SubscriptionSchedule, phase: Phase) -> None:
        account = self._account
        if schedule.running_phase is not phase:
            return
        subscription = account.subscription(schedule.subscription)
        if schedule.phases_begun < len(schedule.phases):
            schedule.phases_begun += 1
            account.emit("subscription_schedule.updated", schedule)
            begun = schedule.phases[schedule.phases_begun - 1]
            if begun.plans != phase.plans:
                [(price_id, _)] = begun.plans
                account.subscriptions.change_plan(subscription, account.price(price_id))
            self._await_end_of_phase(schedule)
        elif schedule.end_behavior == "release":
            self.release(schedule)
        else:
            schedule.status, schedule.completed_at = "completed", account.now
            account.emit("subscription_schedule.completed", schedule)

    def change_at_period_end(
        self, subscription: Subscription, price: Price, *, lasts_seconds: int
    ) -> SubscriptionSchedule:
        """Put the only item of a running subscription on another price when its period ends."""
        [item] = subscription.items
        end = item.period_end
        quantity = item.quantity or 1
        phases = [
            Phase(plans=((item.price, quantity),), start=item.period_start, end=end),
            Phase(plans=((price.id, quantity),), start=end, end=end + lasts_seconds),
        ]
        return self._of(subscription, phases, "release")

    def end_after_next_period(self, subscription: Subscription) -> SubscriptionSchedule:
        """Let a running subscription go on for one more period, in a phase of its own, at whose end it is canceled."""
        [item] = subscription.items
        price = self._account.price(item.price)
        plans = ((item.price, item.quantity or 1),)
        middle = item.period_end
        end = boundary_after(
            subscription.billing_cycle_anchor, price.interval or "month", price.interval_count, middle
        )
        phases = [
            Phase(plans=plans, start=item.period_start, end=middle),
            Phase(plans=plans, start=middle, end=end),
        ]
        return self._of(subscription, phases, "cancel")

    def _of(self, subscription: Subscription, phases: list[Phase], end_behavior: str) -> SubscriptionSchedule:
        schedule = self._add(subscription.customer or "", phases, subscription.currency, end_behavior)
        self._take_over(schedule, subscription)
        return schedule

    def advance(self, subscription: Subscription) -> None:
        """A period is over: a phase that ends with it gives way before the next period is invoiced."""
        schedule = self._account.find(subscription.schedule or "")
        phase = schedule.running_phase if isinstance(schedule, SubscriptionSchedule) else None
        if (
            isinstance(schedule, SubscriptionSchedule)
            and phase is not None
            and phase.end <= self._account.now
        ):
            self._end_phase(schedule, phase)

    def subscription_ended(self, subscription: Subscription) -> None:
        """Its schedule has nothing left to do; one that ends it just now has done it."""
        schedule = self._account.find(subscription.schedule or "")
        if not isinstance(schedule, SubscriptionSchedule) or schedule.running_phase is None:
            return
        if schedule.running_phase.end > self._account.now:
            schedule.status, schedule.canceled_at = "canceled", self._account.now
            self._account.emit("subscription_schedule.canceled", schedule)

    def cancel(self, schedule: SubscriptionSchedule) -> None:
        """Give it up; a subscription that has begun ends with it."""
        account = self._account
        schedule.status, schedule.canceled_at = "canceled", account.now
        account.emit("subscription_schedule.canceled", schedule)
        if schedule.subscription is not None:
            account.subscriptions.end(account.subscription(schedule.subscription))

    def customer_deleted(self, customer_id: str) -> None:
        """Nothing begins for a customer that is gone."""
        for schedule in self.of(customer_id):
            if schedule.status == "not_started":
                self.cancel(schedule)

    def of(self, customer_id: str) -> list[SubscriptionSchedule]:
        rows = self._account.shelves["subscription_schedule"].of_customer.get(customer_id, ())
        return [row for row in rows if isinstance(row, SubscriptionSchedule)]

    def release(self, schedule: SubscriptionSchedule) -> None:
        """Leave the subscription to itself, as it is now."""
        account = self._account
        subscription = account.subscription(schedule.subscription)
        schedule.status, schedule.released_at = "released", account.now
        schedule.released_subscription, schedule.subscription = subscription.id, None
        subscription.schedule = None
        account.emit("subscription_schedule.released", schedule)
        account.emit("customer.subscription.updated", subscription)
