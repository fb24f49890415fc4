"""What a story works with: a cast, a catalogue of its own, the account's actions, and expectations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sandbox.account import Account
from sandbox.objects import Charge, Clock, Customer, Invoice, Metadata, Price, Subscription, Tier
from sandbox.periods import DAY, HOUR
from sandbox.truth import ExpectedCustomer, custom_uid_of, expected_customer
from sandbox.world import World

Plot = Callable[["Stage"], Iterator[int]]
"""A story plays from pause to pause: each yield waits that many seconds of the sandbox clock."""

_FIRST_NAMES = (
    "Ada",
    "Ben",
    "Chi",
    "Dora",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ida",
    "Jan",
    "Kim",
    "Lea",
    "Max",
    "Noa",
)
_LAST_NAMES = (
    "Abel",
    "Brun",
    "Cruz",
    "Dahl",
    "Eder",
    "Falk",
    "Gray",
    "Holm",
    "Iten",
    "Jung",
    "Kern",
    "Lund",
    "Moss",
)
_PRODUCTS = ("Team", "Studio", "Atlas", "Relay", "Beacon", "Forge", "Harbor", "Prism")


class StoryBrokenError(Exception):
    """The sandbox's truth is not what the story says by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A named piece of an account's life, with the cases and definitions that it tests."""

    name: str
    sentence: str
    covers: tuple[str, ...]
    defines: tuple[str, ...]
    customers: int
    plot: Plot


class Stage:
    """One performance of a story, in the account that owns the endpoint unless it says otherwise."""

    def __init__(self, world: World, story: Story, *, number: int, account: Account | None = None) -> None:
        self.world = world
        self.story = story
        self.number = number
        self.choices = Random(f"{world.seed}:{story.name}:{number}")
        self.account = account or world.home

    @property
    def now(self) -> int:
        return self.world.now

    # Cast and catalogue

    def customer(
        self,
        payment_method: str | None = "good",
        *,
        account: Account | None = None,
        metadata: Metadata | None = None,
        customer_id: str | None = None,
        clock: Clock | None = None,
    ) -> Customer:
        first, last = self.choices.choice(_FIRST_NAMES), self.choices.choice(_LAST_NAMES)
        return (account or self.account).clients.create(
            f"{first} {last}",
            f"{first}.{last}.{self.number}@example.com".lower(),
            description=self.story.name.replace("_", " "),
            metadata={"story": self.story.name} if metadata is None else metadata,
            payment_method=payment_method,
            customer_id=customer_id,
            clock=clock,
        )

    def plan(
        self,
        unit_amount: int = 2000,
        *,
        interval: str | None = "month",
        currency: str = "usd",
        account: Account | None = None,
        product_metadata: Metadata | None = None,
        **terms: Any,
    ) -> Price:
        """A price of a product of its own; `terms` are those of Catalogue.price."""
        catalogue = (account or self.account).catalogue
        product = catalogue.product(self.choices.choice(_PRODUCTS), metadata=product_metadata)
        return catalogue.price(product, unit_amount, interval=interval, currency=currency, **terms)

    def tiers(self, *steps: tuple[int | None, int] | tuple[int | None, int, int]) -> tuple[Tier, ...]:
        """Tiers of a price: up to how many units, what each unit costs, and what the tier itself costs."""
        return tuple(
            Tier(up_to=step[0], unit_amount=step[1], flat_amount=step[2] if len(step) == 3 else 0)
            for step in steps
        )

    # What stories do most

    def subscribe(
        self, customer: Customer, plans: Price | Sequence[Price | tuple[Price, int]], **terms: Any
    ) -> Subscription:
        """Start a subscription; `terms` are those of Subscriptions.start."""
        chosen = [plans] if isinstance(plans, Price) else plans
        return self.account.subscriptions.start(customer, chosen, **terms)

    def latest_invoice(self, subscription: Subscription) -> Invoice:
        return self.account.invoices.of_subscription(subscription)[-1]

    def charge_of(self, invoice: Invoice) -> Charge:
        """The latest charge for the invoice, whether it succeeded or not."""
        for thing in reversed(self.account.shelves["charge"].of_customer[invoice.customer or ""]):
            if isinstance(thing, Charge) and thing.invoice == invoice.id:
                return thing
        raise KeyError(f"{invoice.id} has no charge")

    def product_of(self, subscription: Subscription) -> str:
        """The product of its first item."""
        return self.account.price(subscription.items[0].price).product

    def until(self, moment: int) -> int:
        """The pause that ends at a moment."""
        return max(moment - self.now, 0)

    def past_boundary(self, subscription: Subscription) -> int:
        """The pause until some minutes after the running period has ended: the invoice is a draft then."""
        return self.until(min(item.period_end for item in subscription.items)) + 10 * 60

    def past_payment(self, subscription: Subscription) -> int:
        """The pause until the renewal at the end of the running period has been collected."""
        return self.until(min(item.period_end for item in subscription.items)) + 2 * HOUR

    def some_days(self, at_least: int, at_most: int) -> int:
        return self.choices.randint(at_least * DAY, at_most * DAY)

    # Expectations

    def expect(self, customer: Customer, account: Account | None = None, **fields: Any) -> None:
        """State what the truth must be now.

        `fields` are those of ExpectedCustomer, with `net={"usd": 2000}` for revenue, `mrr={"usd": 2000}`, and
        `subscription=` for the current one. Raises StoryBrokenError if the truth differs.
        """
        found = self.truth_of(customer, account or self.account)
        for name, wanted in fields.items():
            if name == "net":
                shown: Any = {row.currency: row.net for row in found.revenue if row.net}
            elif name == "mrr":
                shown = {row.currency: row.mrr for row in found.mrr}
            elif name == "subscription":
                shown, wanted = found.stripe_subscription_id, None if wanted is None else wanted.id
            else:
                shown = getattr(found, name)
            if shown != wanted:
                raise StoryBrokenError(
                    f"{self.story.name} at {self.now}: {name} is {shown!r}, should be {wanted!r}"
                )

    def require(self, condition: bool, what: str) -> None:
        """State what else must be so; raises StoryBrokenError if it is not."""
        if not condition:
            raise StoryBrokenError(f"{self.story.name} at {self.now}: not so: {what}")

    def truth_of(self, customer: Customer, account: Account | None = None) -> ExpectedCustomer:
        where = account or self.account
        return expected_customer(where, customer, custom_uid_of(where, customer))
