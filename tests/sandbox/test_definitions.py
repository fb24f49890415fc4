"""Every row of the definitions that readers rely on is tested by at least one story."""

import pytest

from sandbox import STORIES

DEFINITIONS: dict[str, tuple[str, ...]] = {
    # Status of a subscription, and its access.
    "incomplete, incomplete_expired: no status, no access, never current": (
        "status:incomplete",
        "status:incomplete_expired",
        "current:never_started",
    ),
    "trialing, active: as they are, with access": ("status:trialing", "status:active"),
    "trialing or active with a scheduled end: canceled, with access": (
        "status:canceled:active",
        "status:canceled:trialing",
        "status:canceled:cancel_at",
    ),
    "past_due: past_due, with access": ("status:past_due", "has_access:past_due"),
    "unpaid, paused: past_due, without access": (
        "status:unpaid",
        "status:paused",
        "has_access:unpaid",
        "has_access:paused",
    ),
    "canceled, or the customer was deleted: ended": ("status:ended", "status:deleted"),
    "a status nobody knows: past_due, without access": ("status:unknown", "has_access:unknown"),
    # The current subscription.
    "active, trialing, canceled, past_due, ended, in this order": (
        "current:active_first",
        "current:trialing_before_canceled",
        "current:canceled_before_past_due",
        "current:past_due_before_ended",
    ),
    "among ended ones the latest end": ("current:latest_ended",),
    "otherwise the latest start, then created, then the greatest id": (
        "current:latest_start",
        "current:latest_created",
        "current:greatest_id",
    ),
    "what is only scheduled is no subscription": ("current:scheduled",),
    "none: no status, no renewals": ("current:none", "status:none", "renewal:none"),
    "the first of several items gives product, price and quantity": (
        "quantity:first_item",
        "items:beyond_ten",
        "items:added",
        "quantity:metered",
        "quantity:changed",
        "quantity:pending",
        "current:product",
    ),
    # Trial and dates.
    "is_trial: the current one is trialing, also when it will end": (
        "is_trial:trialing",
        "is_trial:canceled",
        "is_trial:deleted",
    ),
    "trial_end only then": ("trial_end",),
    "subscription_date: start of the current one": ("subscription_date",),
    "first_seen: when the customer was created": ("first_seen",),
    "last_seen: the customer's own activity, not renewals": ("last_seen:checkout",),
    "deleted_at": ("deleted_at",),
    # renewal_number.
    "distinct boundaries of cycle invoices, less than an hour apart are one": (
        "renewal:distinct_boundaries",
        "renewal:within_an_hour",
    ),
    "in any status": ("renewal:any_status", "renewal:free_cycles"),
    "of other reasons none": ("renewal:other_reasons", "renewal:previews", "renewal:paused"),
    "counted on from what an import says": ("renewal:before_import",),
    "of the current subscription only": ("renewal:current_only",),
    "minus one for the trial with which it began": (
        "renewal:minus_trial",
        "renewal:minus_trial_moved",
        "renewal:no_minus",
    ),
    # Revenue.
    "gross: what was captured of succeeded charges": (
        "revenue:gross",
        "revenue:uncaptured",
        "revenue:pending_charge",
        "revenue:failed_charge",
        "revenue:one_off",
        "revenue:attributed_by_session",
    ),
    "refunded: pending ones at once, failed and canceled ones not": (
        "revenue:refunded",
        "revenue:refund_pending",
        "revenue:refund_failed",
    ),
    "refunded: not the released part of an authorization": (
        "revenue:partial_capture",
        "revenue:multicapture",
    ),
    "disputed: what was taken and not given back": (
        "revenue:dispute_withdrawn",
        "revenue:dispute_reinstated",
        "revenue:dispute_currency",
        "revenue:dispute_share",
        "revenue:inquiry",
        "revenue:below_zero",
    ),
    "out_of_band: invoices paid outside Stripe": ("revenue:out_of_band",),
    "out_of_band: less what a credit note gives back outside Stripe": ("revenue:out_of_band_returned",),
    "not twice: what a balance pays": ("revenue:credit_balance", "revenue:overpaid"),
    "gross of fees and transfers": ("revenue:fees", "revenue:gross_of_transfers"),
    "currencies are never added up; yen have no cents": ("revenue:currencies", "revenue:zero_decimal"),
    "lifetime_revenue: in the currency with the most, ties by the alphabet, none: nothing": (
        "revenue:currency_tie",
        "revenue:none",
    ),
    "kept when the customer is deleted": ("revenue:deleted_customer",),
    # What the customer subscribes to.
    "product_id: metadata, else Stripe's": ("product_id:metadata", "product_id:stripe"),
    "version: price, else product, where a whole number, else the rank": (
        "version:price_metadata",
        "version:product_metadata",
        "version:not_a_number",
        "version:rank",
    ),
    "options: quantities by feature": ("options", "products:summed"),
    "products: canceled, ended, periods, siblings, entity": (
        "products:canceled",
        "products:ended",
        "products:periods",
        "products:subscription_ids",
        "products:entity",
    ),
    # Monthly recurring revenue.
    "MRR: brought to a month, whatever the interval": ("mrr:intervals", "mrr:quantity"),
    "MRR: tiers at the quantity": ("mrr:tiers",),
    "MRR: less the discounts that go on": ("mrr:discounts",),
    "MRR: none from meters, trials, paused collection": ("mrr:metered", "mrr:not_paid_for"),
    # Access that is granted without a subscription.
    "sandbox_end: access until then, which a live subscription outranks": (
        "grant:running",
        "grant:over",
        "grant:outranked",
        "grant:by_subscription",
    ),
    "entities: as subscriptions name them": ("entities",),
    # What the customer may use, and has used.
    "features: by Stripe's own word, all of them": ("features",),
    "usage: of the current period, and what it will cost": ("usage",),
    "no record depends on cards, tax ids, suspicions, baskets": (
        "side:payment_methods",
        "side:tax_ids",
        "side:suspicions",
        "side:baskets",
    ),
    # Identity.
    "custom_uid: what the company wrote before what a buyer wrote": ("custom_uid:page", "custom_uid:rank"),
    "custom_uid: metadata, else a completed Checkout": (
        "custom_uid:metadata",
        "custom_uid:checkout",
        "custom_uid:metadata_before_checkout",
    ),
    "custom_uid: safe in a URL": ("custom_uid:invalid",),
    "custom_uid: of several the oldest customer, then the smallest id": (
        "custom_uid:collision",
        "custom_uid:collision_released",
        "custom_uid:collision_tie",
    ),
    "name, email, description": ("name", "email", "description"),
    "accounts and modes never mix": ("key:account", "key:live_mode"),
}
"""Rows of the definitions, in our words, with the names by which stories say that they test them."""


@pytest.mark.parametrize("row", DEFINITIONS)
def test_definition_is_played(row: str) -> None:
    """Each name of the row is claimed by a story."""
    claimed = {name for story in STORIES.values() for name in story.defines}
    assert [] == [name for name in DEFINITIONS[row] if name not in claimed]


def test_no_story_claims_an_unknown_row() -> None:
    """A misspelt claim would leave a row untested unnoticed."""
    known = {name for names in DEFINITIONS.values() for name in names}
    assert set() == {name for story in STORIES.values() for name in story.defines} - known
