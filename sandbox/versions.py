"""API versions, as the questions that shapes ask about them, and what all shapes are made of."""

from collections.abc import Sequence
from typing import Any, Protocol

from sandbox.objects import Thing

Body = dict[str, Any]

ENDIVE = "2026-10-28.endive"
BEFORE_BASIL = "2024-06-20"
OLDEST = "2020-08-27"

NESTED_LIST_MAX = 10


class View(Protocol):
    """Where a shape looks up the objects that it shows inside another object."""

    live_mode: bool

    def find(self, object_id: str) -> Thing | None: ...


class CannotExpandError(Exception):
    """The path of an expand[] parameter leads nowhere; the message is Stripe's."""


class Version:
    """An API version, as the questions that shapes ask about it."""

    def __init__(self, name: str) -> None:
        self.name = name
        date = name[:10]
        self.charge_lists_refunds = date < "2022-11-15"
        self.tax_id_owner = date >= "2023-10-16"
        self.single_discount = date < "2025-03-31"
        self.discount_lists = date >= "2024-01-01"
        self.basil = date >= "2025-03-31"
        self.item_periods = date >= "2024-01-01"
        self.billing_mode = date >= "2024-01-01"
        self.mixed_credit_notes = date >= "2025-05-28"
        self.discount_source = date >= "2025-09-30"
        self.off_stripe_amount = date >= "2026-05-27"
        self.refund_customer = date >= "2026-07-29"
        self.endive = date >= "2026-09-30"


_VERSIONS: dict[str, Version] = {}


def version(name: str) -> Version:
    return _VERSIONS.get(name) or _VERSIONS.setdefault(name, Version(name))


def listing(url: str, rows: Sequence[object], *, has_more: bool) -> Body:
    return {"object": "list", "data": rows, "has_more": has_more, "url": url}


def cut_listing(url: str, rows: list[Body]) -> Body:
    """A list inside another object: only its first ten rows."""
    return listing(url, rows[:NESTED_LIST_MAX], has_more=len(rows) > NESTED_LIST_MAX)
