"""Subscription schedules: what will begin and what will change at moments that are set in advance."""

from collections.abc import Sequence

from sandbox.objects import Customer, Phase, Price, Subscription, SubscriptionSchedule
from sandbox.periods import boundary_after
from sandbox.store import Store
from sandbox.subscriptions import Subscriptions


class Schedules:
    def __init__(self, store: Store, subscriptions: Subscriptions) -> None:
        self._store = store
        self._subscriptions = subscriptions
        subscriptions.listen(self)

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
        self._store.clock.at(starts_at, lambda: self._begin(schedule))
        return schedule

    def _add(
        self, customer_id: str, phases: list[Phase], currency: str, end_behavior: str
    ) -> SubscriptionSchedule:
        store = self._store
        schedule = SubscriptionSchedule(
            id=store.new_id("sub_sched_"),
            created=store.now,
            customer=customer_id,
            phases=phases,
            currency=currency,
            end_behavior=end_behavior,
        )
        store.add(schedule)
        store.emit("subscription_schedule.created", schedule)
        return schedule

    def _begin(self, schedule: SubscriptionSchedule) -> None:
        store = self._store
        if schedule.status != "not_started":
            return
        plans = [(store.price(price_id), quantity) for price_id, quantity in schedule.phases[0].plans]
        subscription = self._subscriptions.start(store.customer(schedule.customer), plans)
        self._take_over(schedule, subscription)

    def _take_over(self, schedule: SubscriptionSchedule, subscription: Subscription) -> None:
        store = self._store
        schedule.status, schedule.phases_begun = "active", 1
        schedule.subscription, subscription.schedule = subscription.id, schedule.id
        store.emit("subscription_schedule.updated", schedule)
        store.emit("customer.subscription.updated", subscription)
        self._await_end_of_phase(schedule)

    def _await_end_of_phase(self, schedule: SubscriptionSchedule) -> None:
        phase = schedule.phases[schedule.phases_begun - 1]
        if schedule.phases_begun == len(schedule.phases) and schedule.end_behavior == "cancel":
            subscription = self._store.subscription(schedule.subscription)
            self._subscriptions.enter_last_phase(subscription, phase.end)
        self._store.clock.at(phase.end, lambda: self._end_phase(schedule, phase))

    def _end_phase(self, schedule: SubscriptionSchedule, phase: Phase) -> None:
        store = self._store
        if schedule.running_phase is not phase:
            return
        subscription = store.subscription(schedule.subscription)
        if schedule.phases_begun < len(schedule.phases):
            schedule.phases_begun += 1
            store.emit("subscription_schedule.updated", schedule)
            begun = schedule.phases[schedule.phases_begun - 1]
            if begun.plans != phase.plans:
                [(price_id, _)] = begun.plans
                self._subscriptions.change_plan(subscription, store.price(price_id))
            self._await_end_of_phase(schedule)
        elif schedule.end_behavior == "release":
            self.release(schedule)
        else:
            schedule.status, schedule.completed_at = "completed", store.now
            store.emit("subscription_schedule.completed", schedule)

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
        """Let a running subscription continue for one more period, in a phase of its own, and cancel it then."""
        [item] = subscription.items
        price = self._store.price(item.price)
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

    def period_over(self, subscription: Subscription) -> None:
        """A period is over: end a phase that ends with it before the next period is invoiced."""
        schedule = self._store.find(subscription.schedule or "")
        phase = schedule.running_phase if isinstance(schedule, SubscriptionSchedule) else None
        if isinstance(schedule, SubscriptionSchedule) and phase is not None and phase.end <= self._store.now:
            self._end_phase(schedule, phase)

    def subscription_ended(self, subscription: Subscription) -> None:
        """Cancel the schedule of an ended subscription, unless the schedule itself has ended it."""
        schedule = self._store.find(subscription.schedule or "")
        if not isinstance(schedule, SubscriptionSchedule) or schedule.running_phase is None:
            return
        if schedule.running_phase.end > self._store.now:
            schedule.status, schedule.canceled_at = "canceled", self._store.now
            self._store.emit("subscription_schedule.canceled", schedule)

    def cancel(self, schedule: SubscriptionSchedule) -> None:
        """Cancel the schedule; a subscription that has begun ends with it."""
        store = self._store
        schedule.status, schedule.canceled_at = "canceled", store.now
        store.emit("subscription_schedule.canceled", schedule)
        if schedule.subscription is not None:
            self._subscriptions.end(store.subscription(schedule.subscription))

    def customer_deleted(self, customer_id: str) -> None:
        """Cancel what has not begun yet."""
        for schedule in self.of(customer_id):
            if schedule.status == "not_started":
                self.cancel(schedule)

    def of(self, customer_id: str) -> list[SubscriptionSchedule]:
        return self._store.of_customer(customer_id, SubscriptionSchedule)

    def release(self, schedule: SubscriptionSchedule) -> None:
        """Release the subscription: it continues as it is now."""
        store = self._store
        subscription = store.subscription(schedule.subscription)
        schedule.status, schedule.released_at = "released", store.now
        schedule.released_subscription, schedule.subscription = subscription.id, None
        subscription.schedule = None
        store.emit("subscription_schedule.released", schedule)
        store.emit("customer.subscription.updated", subscription)
