"""What a kind of Stripe object is to us: where it is read, what reads it, and how it relates to other kinds.

Each family file of this package declares its kinds next to their facts and parsers. `registry.py` puts them in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from billing.kinds.found import Facts, Found, Json, Part


class WholeList(NamedTuple):
    """A list inside an object that facts need whole, and where Stripe serves it."""

    field: str
    url: str  # with {id}: the quoted id of the object that holds the list
    url_is_usable: bool = True  # False: the URL that the list itself states does not serve its rest
    needed: Callable[[Json], bool] | None = None  # for which objects; None: for all


@dataclass(frozen=True, slots=True, kw_only=True)
class PartKind:
    """A kind of part: it has rows of its own, and is read only with the object that holds it."""

    name: str
    table: str
    facts: type[Part]
    owner: str  # the field with the id of the object that holds it
    read_only_fields: tuple[str, ...] = ()  # as in Kind
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
    # Its parser: gets the id, the body, and a `Found` to fill; raises `Refused`.
    parse: Callable[[str, Json, Found], Facts]
    id_field: str = "id"  # `customer` if Stripe keeps one object per customer and gives it no id

    # How it is read.
    list_path: str | None  # None: no list holds all of them (see `read_after`)
    retrieve_path: str  # with {id}: the quoted id
    # What a retrieve and a list ask for, because Stripe leaves it out otherwise.
    expands: tuple[str, ...] = ()
    # False: its list cannot be asked for a stretch of `created`, and is read in one go.
    list_by_created: bool = True
    # The true-or-false field by which its list is read twice, since without it Stripe leaves out some objects.
    list_varies_by: str | None = None
    list_holds_all: bool = True  # False: an object that is not in its list may exist anyway
    # The field by which its list can be asked for a stretch: objects that are to be read and lie near one another in it
    # are read by pages. It is a column of its facts, too. None: each is read by its id.
    confirmed_along: str | None = None
    # A field of its facts, and the kind of the object that it names, whose read confirms this one as well.
    confirmed_inside: tuple[str, str] | None = None
    read_through: str | None = (
        None  # it is read with this kind, which carries it whole, by an expand or by paging
    )
    read_after: str | None = None  # no list holds it: it is read per customer, after the list of this kind
    list_field: str | None = None  # Stripe has no such object to read, only the list in this field of it
    whole_lists: tuple[WholeList, ...] = ()  # the lists inside it that must be read to their ends
    part: PartKind | None = None  # what travels with it and has rows of its own
    # "lists": no record depends on it. Its payloads are shown by the same rule as others, but no event makes us read
    # it: lists confirm it in a backfill, and an audit finds later changes. Nothing is fetched because it names it, and
    # it is not fetched because something names it.
    confirmed_by: Literal["reads", "lists"] = "reads"

    # How it relates to other objects.
    catalogue: bool = False  # describes what is sold, so a pending read of it makes no customer inexact
    names_customer: bool = False  # its facts carry customer_id (a customer names itself)
    # The objects that its events concern in addition to itself: (field of data.object, kind named there). A field may
    # hold an id, a whole object, or a list of either. The event type does not matter: Stripe puts the same object into
    # every event of a family.
    concerns: tuple[tuple[str, str], ...] = ()
    # Every field that holds the id of a mirrored object, with the kind of that object. A field that may name several
    # kinds appears once for each. After a backfill, objects that are named here and were in no list are read by id.
    references: tuple[tuple[str, str], ...] = ()
    other_ids: tuple[str, ...] = ()  # fields that end in _id but name no mirrored object
    # Of a kind that names no customer: the references to the object that it belongs to.
    belongs_to: tuple[tuple[str, str], ...] = ()

    # How it changes and ends.
    deleted_event: str | None = None  # the event that, with a 404, proves a deletion
    id_is_chosen: bool = False  # by people, who may choose it again once the object is deleted
    # Earlier objects of a chosen id are kept, as a list in the column `former`: others still depend on their facts.
    keeps_former: bool = False
    absorbing: frozenset[str] = frozenset()  # statuses that no payload may leave, once shown or confirmed
    # Fields that say who the customer is. They can be forgotten, like metadata and the object as Stripe sent it.
    personal: tuple[str, ...] = ()
    # Fields that Stripe states only if a read expands them, so that a payload leaves them out: the value of the last
    # read stays. (A payload that does state them is believed like any other.) A known value of `discounts` stays as
    # long as the discounts are the same.
    read_only_fields: tuple[str, ...] = ()
    # Fields that change without an event, and that no record depends on: a difference in them is no drift and concerns
    # no customer. Audits bring them up to date.
    eventless_fields: tuple[str, ...] = ()
    # Statuses of objects that came into being without an event, and that no record depends on as long as they have
    # them: an audit counts no such object as lacking. The event that ends such a status brings the object.
    eventless_statuses: frozenset[str] = frozenset()

    @property
    def list_variants(self) -> tuple[str, ...]:
        """The queries by which its list is read, each once: "" or "field=value"; together they give the whole list."""
        if self.list_varies_by is None:
            return ("",)
        return (f"{self.list_varies_by}=true", f"{self.list_varies_by}=false")

    @property
    def says_created(self) -> bool:
        """Whether Stripe says when such an object was created."""
        return "created" in self.facts.__dataclass_fields__

    @property
    def ownerless(self) -> bool:
        """Whether records depend on it though it names no customer: `belongs_to` leads to the customer."""
        names = self.names_customer or self.id_is_customers
        return self.confirmed_by == "reads" and not self.catalogue and not names

    @property
    def id_is_customers(self) -> bool:
        """Whether its id is the id of its customer."""
        return self.name == "customer" or self.id_field == "customer"
