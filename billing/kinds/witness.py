"""Two witnesses: whether a read of an object says what the newest payload about it says (ARCHITECTURE.md, the fence).

Only what both tell is compared. A payload leaves out what Stripe states only if a read asks for it, and one of an
older API version what that version did not have; a list that was cut says nothing of its rest.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from billing.kinds.discounts import Discount
from billing.kinds.found import Json, Part
from billing.kinds.monotone import is_behind
from billing.kinds.parse import Parsed
from billing.kinds.registry import KINDS

_ONLY_IF_ASKED: Mapping[str, tuple[str, ...]] = {"invoice": ("amount_paid_by_payments",)}
"""In addition to `Kind.read_only_fields`: what follows from lists that a payload leaves out."""
_ONLY_BEFORE: Mapping[str, tuple[str, ...]] = {
    "invoice": ("paid_out_of_band",),
    "charge": ("invoice_id",),
    "payment_intent": ("invoice_id",),
}
"""What older API versions say, and the one in which we read says no more."""
_OF_LISTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("invoice", "lines"): ("subscription_id", "lines_period_end", "trial_lines_end")
}
"""By kind and list: what is said by a list that a payload cuts, and a read may have whole."""
_OF_THE_ANSWER: Mapping[str, tuple[str, ...]] = {"subscription": ("items_cut",)}
"""What says how much was told, and nothing of the object."""

_STEPS: Mapping[str, tuple[str, frozenset[object]]] = {
    "charge.captured": ("captured", frozenset({True})),
    "charge.dispute.closed": ("status", frozenset({"won", "lost", "warning_closed", "prevented"})),
    "charge.failed": ("status", frozenset({"failed"})),
    "charge.pending": ("status", frozenset({"pending", "succeeded", "failed"})),
    "charge.succeeded": ("status", frozenset({"succeeded"})),
    "checkout.session.completed": ("status", frozenset({"complete"})),
    "checkout.session.expired": ("status", frozenset({"expired"})),
    "credit_note.voided": ("status", frozenset({"void"})),
    "customer.subscription.deleted": ("status", frozenset({"canceled", "incomplete_expired"})),
    "customer.subscription.paused": ("status", frozenset({"paused"})),
    "invoice.finalized": ("status", frozenset({"open", "paid", "void", "uncollectible"})),
    "invoice.marked_uncollectible": ("status", frozenset({"uncollectible", "paid", "void"})),
    "invoice.paid": ("status", frozenset({"paid"})),
    "invoice.payment_succeeded": ("status", frozenset({"paid"})),
    "invoice.voided": ("status", frozenset({"void"})),
    "invoice_payment.paid": ("status", frozenset({"paid"})),
    "refund.failed": ("status", frozenset({"failed"})),
}
"""What an object says after a step that is told by the type of its event alone: a field of its facts, and its values.
Only steps after which there is no way back to what was before."""


_FREE_KEYS = "metadata"
"""The only field of Stripe's whose keys are chosen: one that is lacking says something there."""
_STRIPES_PAGE = re.compile(r"https://([a-z0-9-]+\.)*stripe\.com/[^\"]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What the newest payload about an object says."""

    parsed: Parsed
    fields: Collection[str]  # the names of Stripe's fields in its body
    of_our_version: bool  # rendered in the API version in which we read
    cut: Collection[str] = ()  # the names of lists in it that go on


def cut_lists(body: Json) -> tuple[str, ...]:
    """The names of the lists in a body that Stripe has cut."""
    return tuple(
        name for name, value in body.items() if isinstance(value, Mapping) and value.get("has_more") is True
    )


def shows_step(event_type: str, read: Parsed) -> bool:
    """Whether a read shows the step that an event of this type, as snapshot events have it, is about: so it has seen
    that event. False if the type does not say. What there is has been created.
    """
    if event_type.endswith(".created"):
        return True
    field, values = _STEPS.get(event_type, ("", frozenset()))
    return getattr(read.facts, field, None) in values


def first_difference(payload: Payload, read: Parsed) -> str | None:
    """The first fact that both tell and of which they tell different things; None if they agree, or if the read
    shows a step that is never taken back: then it is no late one, and the payload is older.
    """
    told, kind = payload.parsed, KINDS[read.kind]
    if told.deleted != read.deleted:
        return "deleted" if told.deleted or kind.id_is_chosen else None
    if told.facts is None or read.facts is None or is_behind(told.facts, read.facts):
        return None
    unasked = (*kind.read_only_fields, *_ONLY_IF_ASKED.get(kind.name, ()))
    passed_over = (
        *kind.eventless_fields,
        *_ONLY_BEFORE.get(kind.name, ()),
        *_OF_THE_ANSWER.get(kind.name, ()),
        *(fact for each in payload.cut for fact in _OF_LISTS.get((kind.name, each), ())),
    )
    for field in fields(told.facts):
        name = field.name
        if name in passed_over:
            continue
        one, other = getattr(told.facts, name), getattr(read.facts, name)
        if name == "discounts" and not _tells(payload, name, None):
            one, other = (one or ())[:1], (other or ())[:1]  # Stripe showed no more than one
        if not _agree(one, other, unasked=name in unasked) and _tells(payload, name, one):
            return name
    return _first_part(payload, read)


def repeats(kind_name: str, stored: Json, answer: Json) -> bool:
    """Whether an answer says of an object what is stored of it, in every field that both have.

    One of the two may be a payload, or come from a list: with fewer expansions, in another version, with lists cut.
    """
    if stored.get("deleted") != answer.get("deleted"):
        return False
    both = (stored.keys() & answer.keys()) - {*KINDS[kind_name].eventless_fields}
    return all(_repeats(stored[name], answer[name], name) for name in both)


def _repeats(one: Any, other: Any, name: str) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if name == _FREE_KEYS:
            return one == other
        if one.get("object") == "list" == other.get("object"):
            return _repeats_list(one, other)
        return all(_repeats(one[key], other[key], key) for key in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_repeats(*pair, name) for pair in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str):
        # The addresses of Stripe's own pages (receipts, invoices) are made anew for each answer.
        return one == other or bool(_STRIPES_PAGE.match(one) and _STRIPES_PAGE.match(other))
    if isinstance(one, str) or isinstance(other, str):  # one of the two is expanded
        return _id_of(one) == _id_of(other)
    return bool(one == other)


def _repeats_list(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """As far as both show it: a list that was cut says nothing of its rest."""
    if not isinstance(one.get("data"), list) or not isinstance(other.get("data"), list):
        return one.get("data") == other.get("data")
    cut = one.get("has_more") is True or other.get("has_more") is True
    if len(one["data"]) != len(other["data"]) and not cut:
        return False
    return all(_repeats(*pair, "") for pair in zip(one["data"], other["data"], strict=False))


def _id_of(value: Any) -> object:
    return value.get("id") if isinstance(value, Mapping) else value


def without_pages(text: str) -> str:
    """The JSON of an object without the addresses of Stripe's own pages, which are made anew for each answer."""
    return _STRIPES_PAGE.sub("", text)


def contradicts(told: Parsed, other: Parsed) -> bool:
    """Whether a payload says something else of an object than another one of its second, in which nothing shows that it
    is the older one.
    """
    return first_difference(Payload(parsed=told, fields=(), of_our_version=True), other) is not None


def comes_after(previous: object, before: Json) -> bool:
    """Whether the event with these `previous_attributes` came after one that showed the object as `before`: it says
    that the fields which it changed were as they are there.
    """
    return isinstance(previous, Mapping) and bool(previous) and _was(previous, before)


def _was(previous: Any, before: Any) -> bool:
    if isinstance(previous, Mapping) and isinstance(before, Mapping):
        return all(_was(value, before.get(name)) for name, value in previous.items())
    return _repeats(previous, before, "")


def _first_part(payload: Payload, read: Parsed) -> str | None:
    told, part = payload.parsed, KINDS[payload.parsed.kind].part
    if part is None:
        return None
    before, now = _by_id(told.parts), _by_id(read.parts)
    if (before.keys() - now.keys() and not read.items_cut) or (
        now.keys() - before.keys() and not told.items_cut
    ):
        return f"{part.name}s"
    for part_id in sorted(before.keys() & now.keys()):
        for field in fields(before[part_id]):
            one, other = getattr(before[part_id], field.name), getattr(now[part_id], field.name)
            unasked = field.name in part.read_only_fields
            if not _agree(one, other, unasked=unasked) and not (
                _is_empty(one) and not payload.of_our_version
            ):
                return f"{part.name} {part_id}: {field.name}"
    return None


def _by_id(parts: Sequence[Part]) -> dict[str, Part]:
    return {part.id: part for part in parts}


def _agree(one: object, other: object, *, unasked: bool) -> bool:
    """`unasked`: Stripe states this fact only if it is asked for, which one of the two may not have done."""
    if one == other or (unasked and (one is None or other is None)):
        return True
    return _discounts(one) is not None and _discounts(one) == _discounts(other)


def _discounts(value: object) -> list[str | None] | None:
    """The ids of discounts, which are all that a payload states of them; None for all other facts."""
    if isinstance(value, tuple) and value and all(isinstance(each, Discount) for each in value):
        return [each.id for each in value]
    return None


def _tells(payload: Payload, name: str, value: object) -> bool:
    """Whether a payload says this of a fact, and not only its API version nothing."""
    return payload.of_our_version or not _is_empty(value) or name in payload.fields


def _is_empty(value: object) -> bool:
    return value is None or value is False or value in ((), {})
