"""Stripe's JSON, of any API version from 2020-08-27 to 2026-10-28.endive, becomes facts.

Stripe has moved fields between versions, and a field may hold an id or, when expanded, the whole object. The family
files of this package (`customers.py`, `invoices.py`, ...) know where a fact was in which version. Every field that a
fact depends on is read strictly: a shape we do not know is refused with `UnknownShape`, since a wrong number is worse
than a late one; only if no record needs the field does something empty of another shape read as absent. Fields that
no fact depends on are ignored, and words that Stripe adds to its open sets are accepted (a
new status stays as it is).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from billing.kinds.fields import Refused, UnknownShape, flag_of, shown
from billing.kinds.found import Facts, Found, Json, ObjectRef, Part, is_id, is_id_of
from billing.kinds.kind import Kind, WholeList
from billing.kinds.registry import KINDS, kind_of
from billing.kinds.subscriptions import SubscriptionItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one body from Stripe says."""

    kind: str
    id: str
    facts: Facts | None  # None when the body says only that the object was deleted
    deleted: bool
    customer_id: str | None
    live_mode: bool | None  # None if Stripe does not say (refunds): take it from the event or the key
    parts: tuple[Part, ...]  # what travels with it and has a table of its own
    items_cut: bool  # the list of parts is absent or goes on: a part that is not in it may exist
    embedded: tuple[Json, ...]  # whole objects of mirrored kinds inside it, each once
    references: tuple[ObjectRef, ...]  # mirrored objects inside it of which only the id is given, each once

    @property
    def items(self) -> tuple[SubscriptionItem, ...]:
        """The items of a subscription; empty for other kinds."""
        return tuple(part for part in self.parts if isinstance(part, SubscriptionItem))


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedList:
    """A list inside an object that Stripe has cut, and where to read the rest."""

    path: tuple[str, ...]  # to the list object in the body; the rest is appended to its `data`
    url: str  # a path of the API, perhaps with a query
    last_id: str | None  # what `starting_after` takes
    expands: tuple[str, ...] = ()  # of its entries, as a read of the object asks for them


def parse_object(body: Json, *, asked: bool = False) -> Parsed:
    """The facts that a Stripe object states, and the other objects inside it.

    `asked`: the body answers a request with the registry's expansions, so that a field that is left out does not exist.
    NUL characters and lone surrogates must have been removed before. Raises UnknownShape.
    """
    if not isinstance(body, Mapping):
        raise UnknownShape(f"wanted a Stripe object, came {shown(body)}: look at the event that carries it")
    name = body.get("object")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None:
        raise UnknownShape(
            f"object is {shown(name)}, which is not mirrored: add it to billing/kinds/registry.py"
        )
    object_id = body.get(kind.id_field)
    if not is_id_of(object_id, kind.name):
        raise UnknownShape(
            f"{name}: {kind.id_field} is {shown(object_id)}: only an object with an id can be stored"
        )
    found = Found(asked=asked)
    try:
        live_mode = flag_of(body, "livemode", needed=True)
        deleted = flag_of(body, "deleted", needed=True) is True
        facts = None if deleted else kind.parse(object_id, body, found)
    except Refused as refused:
        raise UnknownShape(
            f"{name} {object_id}: {refused.field} is {refused.came}, wanted {refused.wanted}: "
            f"if Stripe means it, read this shape in {kind.parse.__module__.replace('.', '/')}.py"
        ) from None
    customer_id = object_id if kind.id_is_customers else getattr(facts, "customer_id", None)
    embedded, references = _sorted_out(found)
    return Parsed(
        kind=kind.name,
        id=object_id,
        facts=facts,
        deleted=deleted,
        customer_id=customer_id,
        live_mode=live_mode,
        parts=tuple(found.parts.values()),
        items_cut=found.items_cut,
        embedded=embedded,
        references=references,
    )


def _sorted_out(found: Found) -> tuple[tuple[Json, ...], tuple[ObjectRef, ...]]:
    """The mirrored objects that are there as a whole, and those that are only named; each once, the first body wins."""
    embedded: dict[ObjectRef, Json] = {}
    references: dict[ObjectRef, None] = {}
    for ref, value in found.named:
        # Another object in its place, such as a plan in the place of its price, at least names it.
        if isinstance(value, dict) and value.get("object") == KINDS[ref.kind].stripe_object:
            embedded.setdefault(ref, value)
        else:
            references[ref] = None
    return tuple(embedded.values()), tuple(ref for ref in references if ref not in embedded)


def nested_lists(body: Json) -> tuple[NestedList, ...]:
    """The lists in this object that facts need whole and that Stripe has cut; never raises."""
    name = body.get("object")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None or not kind.whole_lists:
        return ()
    found = [_cut_list(kind, whole, body) for whole in kind.whole_lists]
    return tuple(each for each in found if each is not None)


def _cut_list(kind: Kind, whole: WholeList, body: Json) -> NestedList | None:
    cut = body.get(whole.field)
    if not isinstance(cut, dict) or cut.get("has_more") is not True:
        return None
    if whole.needed is not None and not whole.needed(body):
        return None
    data = cut.get("data")
    last = data[-1] if isinstance(data, list) and data else None
    last_id = last.get("id") if isinstance(last, dict) else None
    own_url = cut.get("url")
    if isinstance(own_url, str) and own_url.startswith("/v1/") and whole.url_is_usable:
        url = own_url
    elif is_id(object_id := body.get(kind.id_field)):
        url = whole.url.format(id=quote(object_id, safe=""))
    else:
        return None
    return NestedList(
        path=(whole.field,),
        url=url,
        last_id=last_id if isinstance(last_id, str) else None,
        expands=tuple(each for each in kind.expands if each.startswith(f"{whole.field}.data.")),
    )
