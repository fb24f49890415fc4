"""Entities: what a customer buys products for (workspaces, teams, stores), as subscription metadata names them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from billing.facts import CustomerFacts
from billing.kinds.subscriptions import Subscription
from billing.products import NAMESPACE
from billing.status import start_order


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerEntity:
    """One row of billing.subscription_entities."""

    uid: UUID
    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    id: str
    type: str | None
    name: str | None
    created_at: datetime | None


def entities_of(facts: CustomerFacts, *, customer_uid: UUID) -> tuple[CustomerEntity, ...]:
    """One row per entity_id, in order of entity_id.

    Subscriptions that never started or have ended count too, as they do for products. Type and name are taken from the
    subscription that began last and states them.
    """
    of: dict[str, list[Subscription]] = {}
    for subscription in sorted(facts.subscriptions, key=start_order):
        entity_id = subscription.metadata.get("entity_id")
        if entity_id:
            of.setdefault(entity_id, []).append(subscription)
    mode = "live" if facts.live_mode else "test"
    scope = f"{facts.account_id}/{mode}/{facts.customer_id}"
    return tuple(
        CustomerEntity(
            uid=uuid5(NAMESPACE, f"{scope}/entity/{entity_id}"),
            customer_uid=customer_uid,
            account_id=facts.account_id,
            live_mode=facts.live_mode,
            stripe_customer_id=facts.customer_id,
            id=entity_id,
            type=_last_said(subscriptions, "entity_type"),
            name=_last_said(subscriptions, "entity_name"),
            created_at=min((start for each in subscriptions if (start := _began(each))), default=None),
        )
        for entity_id, subscriptions in sorted(of.items())
    )


def _began(subscription: Subscription) -> datetime | None:
    return subscription.start_date or subscription.created


def _last_said(subscriptions: list[Subscription], field: str) -> str | None:
    said = [value for each in subscriptions if (value := each.metadata.get(field))]
    return said[-1] if said else None
