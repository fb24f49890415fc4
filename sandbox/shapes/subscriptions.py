"""How subscriptions, their items and their schedules are shown."""

from sandbox.objects import Item, Phase, Price, Subscription, SubscriptionSchedule
from sandbox.shapes.catalogue import show_plan, show_price
from sandbox.shapes.customers import clock_of
from sandbox.shapes.discounts import discount_fields
from sandbox.versions import Body, Version, View, cut_listing


def show_item(thing: Item, subscription: Subscription, shape: Version, view: View) -> Body:
    price = view.find(thing.price)
    if not isinstance(price, Price):
        raise KeyError(f"{thing.id} names the unknown price {thing.price}")
    body: Body = {
        "id": thing.id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": thing.created,
        "metadata": dict(thing.metadata),
        "plan": show_plan(price, shape, view),
        "price": show_price(price, shape, view),
        "subscription": subscription.id,
        "tax_rates": [],
    }
    if shape.discount_lists:
        body["discounts"] = []
    if thing.quantity is not None:
        body["quantity"] = thing.quantity
    if shape.item_periods:
        body["current_period_start"] = thing.period_start
        body["current_period_end"] = thing.period_end
    if shape.endive:
        body["billed_until"] = thing.period_start
        body["current_trial"] = None
    return body


def show_subscription(thing: Subscription, shape: Version, view: View) -> Body:
    items = [show_item(entry, thing, shape, view) for entry in thing.items]
    pending: Body | None = None
    if thing.pending_update is not None:
        pending = {
            "billing_cycle_anchor": None,
            "expires_at": thing.pending_update_expires_at,
            "subscription_items": [
                {"id": key, "quantity": count} for key, count in thing.pending_update.items()
            ],
            "trial_end": None,
            "trial_from_plan": None,
        }
    body: Body = {
        "id": thing.id,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None},
        "billing_cycle_anchor": thing.billing_cycle_anchor,
        "billing_thresholds": None,
        "cancel_at": thing.cancel_at,
        "cancel_at_period_end": thing.cancel_at_period_end,
        "canceled_at": thing.canceled_at,
        "cancellation_details": {"comment": None, "feedback": None, "reason": thing.cancellation_reason},
        "collection_method": thing.collection_method,
        "created": thing.created,
        "currency": thing.currency,
        "customer": thing.customer,
        "days_until_due": thing.days_until_due,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "ended_at": thing.ended_at,
        "items": cut_listing(f"/v1/subscription_items?subscription={thing.id}", items),
        "latest_invoice": thing.latest_invoice,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": (
            None
            if thing.pause_collection is None
            else {"behavior": thing.pause_collection, "resumes_at": None}
        ),
        "payment_settings": {"payment_method_options": None, "payment_method_types": None},
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": pending,
        "schedule": thing.schedule,
        "start_date": thing.start_date,
        "status": thing.status,
        "test_clock": thing.test_clock,
        "transfer_data": None,
        "trial_end": thing.trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": thing.trial_without_card}},
        "trial_start": thing.trial_start,
    }
    body.update(discount_fields(thing, shape, view))
    if not shape.basil:
        body["current_period_start"] = max(entry.period_start for entry in thing.items)
        body["current_period_end"] = min(entry.period_end for entry in thing.items)
        only = items[0] if len(items) == 1 else None
        body["plan"] = None if only is None else only["plan"]
        body["quantity"] = None if only is None else only.get("quantity")
    if shape.billing_mode:
        body["billing_mode"] = {"type": thing.billing_mode}
    if shape.endive:
        body["customer_account"] = None
        body["status_details"] = (
            None
            if thing.pause_reason is None
            else {"paused": {"type": "subscription", "subscription": {"type": thing.pause_reason}}}
        )
    return body


def show_subscription_schedule(thing: SubscriptionSchedule, shape: Version, view: View) -> Body:
    running = thing.running_phase
    body: Body = {
        "id": thing.id,
        "object": "subscription_schedule",
        "application": None,
        "canceled_at": thing.canceled_at,
        "completed_at": thing.completed_at,
        "created": thing.created,
        "current_phase": None if running is None else {"start_date": running.start, "end_date": running.end},
        "customer": thing.customer,
        "default_settings": {
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
        },
        "end_behavior": thing.end_behavior,
        "livemode": view.live_mode,
        "metadata": dict(thing.metadata),
        "phases": [_phase(phase, thing) for phase in thing.phases],
        "released_at": thing.released_at,
        "released_subscription": thing.released_subscription,
        "status": thing.status,
        "subscription": thing.subscription,
        "test_clock": clock_of(thing.customer, view),
    }
    if shape.billing_mode:
        body["billing_mode"] = {"type": "classic"}
    if shape.endive:
        body["customer_account"] = None
    return body


def _phase(phase: Phase, schedule: SubscriptionSchedule) -> Body:
    return {
        "add_invoice_items": [],
        "billing_cycle_anchor": None,
        "collection_method": None,
        "currency": schedule.currency,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": phase.end,
        "items": [
            {
                "discounts": [],
                "metadata": {},
                "plan": price,
                "price": price,
                "quantity": quantity,
                "tax_rates": [],
            }
            for price, quantity in phase.plans
        ],
        "metadata": {},
        "proration_behavior": "create_prorations",
        "start_date": phase.start,
        "trial_end": None,
    }
