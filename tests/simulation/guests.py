"""People who buy as guests and sign up later: two customers at Stripe, and one record. A story for some worlds, what
joins its pairs, and what a joined record must say.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from db.connection import Connection
from sandbox import Sandbox
from sandbox.books import subscription_status
from sandbox.objects import Customer, Subscription
from sandbox.periods import DAY
from sandbox.stories import Stage, Story
from sandbox.truth import CustomerKey, ExpectedCustomer, ExpectedMrr, ExpectedRevenue

PAIRS = 3
APART_SHARE = 0.1
"""How probably a pair that was joined is taken apart in a step."""
EVENTS = 90
"""About so many are sent of all of them."""
BEST_FIRST = ("active", "trialing", "canceled", "past_due", "ended")


def guests(people: list[tuple[str, str]]) -> Story:
    """The story, in which guests and the buyers that they become are entered as `people`."""

    def plot(stage: Stage) -> Iterator[int]:
        """Guests buy; each signs up as another customer, buys there, and ends one subscription or both."""
        account = stage.account
        for _ in range(PAIRS):
            guest = stage.customer()
            ours = stage.subscribe(guest, stage.plan(stage.choices.choice((900, 1900))))
            account.payments.pay_once(guest, 700)
            yield stage.some_days(0, 2)
            buyer = stage.customer()
            people.append((guest.id, buyer.id))
            if stage.choices.random() < 0.7:
                theirs = stage.subscribe(buyer, stage.plan(4000))
                yield stage.some_days(1, 2)
                if stage.choices.random() < 0.3:
                    account.subscriptions.end(theirs)
            yield stage.some_days(1, 2)
            if stage.choices.random() < 0.6:
                account.subscriptions.end(ours)
            account.payments.pay_once(stage.choices.choice((guest, buyer)), 1100)
            if stage.choices.random() < 0.2:
                account.clients.delete(guest)
            yield DAY

    return Story(
        name="guests_who_sign_up",
        sentence="Guests buy, and sign up later as other customers.",
        covers=(),
        defines=(),
        customers=2 * PAIRS,
        plot=plot,
    )


# Younger than anything: it changes nothing of a record.
LINK = """
insert into billing.identities (account_id, live_mode, stripe_customer_id, created_at)
select '', false, id, '2200-01-01' from unnest($1::text[]) as id order by id
on conflict do nothing
"""
JOIN = """
insert into billing.joined_customers (account_id, live_mode, stripe_customer_id, main_stripe_customer_id)
values ('', false, $1, $2)
"""
TAKE_APART = "delete from billing.joined_customers where stripe_customer_id = $1"
SELECT_JOINED = """
select j.stripe_customer_id, j.main_stripe_customer_id from billing.joined_customers j order by 1
"""


async def join_some(connection: Connection, people: Sequence[tuple[str, str]], draws: Random) -> int:
    """Join some of these pairs, and take some apart that were joined; how many were joined."""
    joined = {row[0] for row in await connection.fetch(SELECT_JOINED)}
    count = 0
    for guest, buyer in people:
        luck = draws.random()
        async with connection.transaction():
            if guest in joined and luck < APART_SHARE:
                await connection.execute(TAKE_APART, guest)
            elif guest not in joined and luck < 0.5:
                await connection.execute(LINK, [guest, buyer])
                await connection.execute(JOIN, guest, buyer)
                count += 1
    return count


async def truth_with_joins(
    connection: Connection, sandbox: Sandbox
) -> tuple[dict[CustomerKey, ExpectedCustomer], dict[CustomerKey, CustomerKey]]:
    """What each record must say at this moment; and the main one of each customer that has none of its own."""
    truth = sandbox.truth()
    rows = await connection.fetch(SELECT_JOINED)
    mains = {CustomerKey("", False, row[0]): CustomerKey("", False, row[1]) for row in rows}
    for guest, main in mains.items():
        theirs = truth.pop(guest)
        truth[main] = _added_up(sandbox, truth[main], theirs)
    return truth, mains


def _added_up(sandbox: Sandbox, main: ExpectedCustomer, other: ExpectedCustomer) -> ExpectedCustomer:
    """One person's purchases at both customers, from the account's own state."""
    deciding = max((main, other), key=lambda each: _rank(sandbox, each.stripe_customer_id))
    alive = main if main.deleted_at is None or other.deleted_at is not None else other
    revenue = _sums_of([*main.revenue, *other.revenue])
    most = max(revenue, key=lambda row: row.gross + row.out_of_band, default=None)
    mrr: Counter[str] = Counter()
    for row in (*main.mrr, *other.mrr):
        mrr[row.currency] += row.mrr
    seen = [each.last_seen for each in (main, other) if each.last_seen is not None]
    return dataclasses.replace(
        deciding,
        stripe_customer_id=main.stripe_customer_id,
        custom_uid=main.custom_uid,
        name=alive.name,
        email=alive.email,
        description=alive.description,
        metadata=alive.metadata,
        has_access=main.has_access or other.has_access,
        lifetime_revenue=0 if most is None else most.net,
        revenue_currency=None if most is None else most.currency,
        first_seen=min(main.first_seen, other.first_seen),
        last_seen=max(seen, default=None),
        deleted_at=None
        if main.deleted_at is None or other.deleted_at is None
        else max(main.deleted_at, other.deleted_at),
        products=tuple(
            sorted(
                (*main.products, *other.products),
                key=lambda each: (each.stripe_subscription_id, each.stripe_product_id),
            )
        ),
        revenue=tuple(revenue),
        mrr=tuple(ExpectedMrr(currency=each, mrr=mrr[each]) for each in sorted(mrr)),
        # In whatever order: a reader may have missed some, and seen the better of the two.
        status_changes=(*main.status_changes, *other.status_changes) * 3,
    )


def _rank(sandbox: Sandbox, customer_id: str) -> tuple[int, int, int, str]:
    """The best of a customer's subscriptions, in the order in which one decides."""
    customer: Customer = sandbox.home.customer(customer_id)
    return max(
        _ranks(sandbox.home.subscriptions_of(customer_id), deleted=customer.deleted_at is not None),
        default=(-len(BEST_FIRST), 0, 0, ""),
    )


def _ranks(subscriptions: Iterable[Subscription], *, deleted: bool) -> Iterator[tuple[int, int, int, str]]:
    for each in subscriptions:
        status = subscription_status(each, customer_deleted=deleted)
        if status is not None:
            decisive = (each.ended_at or 0) if status == "ended" else each.start_date
            yield -BEST_FIRST.index(status), decisive, each.created, each.id


def _sums_of(rows: Sequence[ExpectedRevenue]) -> list[ExpectedRevenue]:
    names = ("gross", "refunded", "disputed", "out_of_band")
    return [
        ExpectedRevenue(
            currency=currency,
            **{name: sum(getattr(row, name) for row in rows if row.currency == currency) for name in names},
        )
        for currency in sorted({row.currency for row in rows})
    ]
