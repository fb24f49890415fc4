"""What a kind of Stripe object is to us: where it is read, what reads it, and how it relates to others.

Each family file of this package declares its kinds beside their facts and parsers; `registry.py` puts them together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from billing.kinds.found import Facts, Found, Json, Part


class WholeList(NamedTuple):
    """A list inside an object that facts need whole, and where Stripe serves it."""

    field: str
    url: str  # with {id}, to be filled with the quoted id of the object that holds the list
    url_is_usable: bool = True  # False: the list states a URL by which it cannot be read on


@dataclass(frozen=True, slots=True, kw_only=True)
class PartKind:
    """A kind of part: it has rows of its own, and is read only with the object that holds it."""

    name: str
    table: str
    facts: type[Part]
    owner: str  # the field that names the object which holds it
    told_by_reads: tuple[str, ...] = ()  # as in Kind
    references: tuple[tuple[str, str], ...] = ()  # as in Kind
    other_ids: tuple[str, ...] = ()  # as in Kind
    fetches_references: bool = True  # False: nothing is fetched because such a part names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One mirrored kind of Stripe object."""

    name: str  # as in sync.objects.kind
    stripe_object: str  # Stripe's `object` field
    table: str
    facts: type[Facts]
    parse: Callable[
        [str, Json, Found], Facts
    ]  # of its id, its body, and what to fill with all else that it holds
    list_path: str | None  # None: no list holds them all (`read_after`)
    retrieve_path: str  # with {id}, to be filled with the quoted id
    list_by_created: bool = (
        True  # its list can be asked for a stretch of `created`; else it is read in one go
    )
    # The true-or-false fact by which its list is asked for twice, since unasked it leaves one of the halves out.
    list_halves: str | None = None
    list_holds_all: bool = True  # False: what its list lacks may exist all the same
    read_through: str | None = (
        None  # the kind it is read with, which carries it whole: by an expand, or by paging
    )
    read_after: str | None = (
        None  # no list holds it: it is read customer by customer, after the list of this kind
    )
    # Stripe has no such object to be read, only the list that stands in this field of it.
    list_field: str | None = None
    whole_list: WholeList | None = None  # the list inside it that must be read to its end
    part: PartKind | None = None  # what travels with it and has rows of its own
    expands: tuple[str, ...] = ()  # what a retrieve asks for, because Stripe leaves it out otherwise
    catalogue: bool = False  # describes what is sold, so a pending read of it makes no customer inexact
    names_customer: bool = False  # its facts carry customer_id (a customer names itself)
    # The objects that its events concern besides itself: (field of data.object, kind named there). A field may hold an
    # id, a whole object, or a list of either. The event type adds nothing to this: Stripe puts the same object into
    # every event of a family.
    concerns: tuple[tuple[str, str], ...] = ()
    # Every field that holds the id of a mirrored object, with the kind of that object; a field that may name several
    # kinds is there once for each. What a backfill finds named here and in no list is read by its id.
    references: tuple[tuple[str, str], ...] = ()
    other_ids: tuple[str, ...] = ()  # fields that end in _id and name no mirrored object
    # Of a kind that names no customer: the facts that hold the id of what it belongs to, and the kind of that.
    belongs_to: tuple[tuple[str, str], ...] = ()
    deleted_event: str | None = None  # the event that, with a 404, proves a deletion
    id_is_chosen: bool = False  # by people, who may choose it again once the object is deleted
    absorbing: frozenset[str] = frozenset()  # statuses that no payload may leave, once shown or confirmed
    # Facts that tell who the customer is; like metadata and the object as Stripe sent it, they can be forgotten.
    personal: tuple[str, ...] = ()
    # False: no record depends on it. Its payloads are shown by the same rule, but no event has it read: lists confirm
    # it, in a backfill, and an audit finds what has changed since. Nothing is fetched for what it names, nor because
    # something names it.
    confirmed_on_event: bool = True
    # Facts that Stripe tells only who asks for them to be expanded, so that a payload says nothing of them: what a read
    # has told stays. (A payload that does tell them is believed like any other.) What was told of `discounts` stays as
    # long as the discounts are the same.
    told_by_reads: tuple[str, ...] = ()
    # Facts that change without an event, and that no record depends on: a difference in them is no drift, and concerns
    # nobody. Audits bring them up to date.
    untold: tuple[str, ...] = ()
    id_field: str = "id"  # `customer` where Stripe keeps one per customer, and gives it no id

    @property
    def list_variants(self) -> tuple[str, ...]:
        """What its list is asked for beside all else, one reading each; together they hold what the list can hold."""
        if self.list_halves is None:
            return ("",)
        return (f"{self.list_halves}=true", f"{self.list_halves}=false")

    @property
    def says_created(self) -> bool:
        """Whether Stripe says when such an object was created."""
        return "created" in self.facts.__dataclass_fields__

    @property
    def nameless(self) -> bool:
        """Whether records depend on it though it names no customer: what it belongs to tells who is concerned."""
        names = self.names_customer or self.id_is_customers
        return self.confirmed_on_event and not self.catalogue and not names

    @property
    def id_is_customers(self) -> bool:
        """Whether its id is the id of its customer."""
        return self.name == "customer" or self.id_field == "customer"
