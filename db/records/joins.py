"""Joins: which customers of Stripe's share one record. That of the main one is the record; the others have none."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import StoredCustomer

JOINED_MAX = 20
"""How many customers may be joined to one (the trigger sync.joins_are_flat)."""

SELECT_JOINS = """
select stripe_customer_id, main_stripe_customer_id
from billing.joined_customers
where account_id = $1 and live_mode = $2 and stripe_customer_id = any ($3::text[])
union
select stripe_customer_id, main_stripe_customer_id
from billing.joined_customers
where account_id = $1 and live_mode = $2 and main_stripe_customer_id = any ($3::text[])
order by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joins:
    """Which of some customers are joined, and which have others joined to them; empty for nearly all."""

    mains: Mapping[str, str] = field(default_factory=dict)
    """The main one of each that is joined, by Stripe's ids."""

    def is_joined(self, customer_id: str) -> bool:
        """Whether it is joined to another one, and so has no record."""
        return customer_id in self.mains

    def main_of(self, customer_id: str) -> str:
        """The one whose record it is: itself, if it is not joined."""
        return self.mains.get(customer_id, customer_id)

    def joined_to(self, customer_id: str) -> list[str]:
        """Those that are joined to this one, in the order of ids."""
        return [joined for joined, main in self.mains.items() if main == customer_id]


NO_JOINS = Joins()


def main_of_sql(customer_id: str) -> str:
    """The main one of a customer that is joined, as a subquery; NULL for any other. $1 and $2 are account and mode."""
    return f"""(
  select j.main_stripe_customer_id
  from billing.joined_customers j
  where j.account_id = $1 and j.live_mode = $2 and j.stripe_customer_id = {customer_id}
)"""


async def select_joins(connection: Connection, scope: Scope, customers: Collection[str]) -> Joins:
    """Of each of these customers that is joined, its main one; and all that are joined to these customers."""
    rows = await connection.fetch(SELECT_JOINS, *scope, list(customers))
    return Joins(mains={row[0]: row[1] for row in rows}) if rows else NO_JOINS


SELECT_ALL_OF = """
select m.id
from (
  select coalesce(
    (
      select main_stripe_customer_id
      from billing.joined_customers
      where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
    ),
    $3
  ) as id
) m
union
select j.stripe_customer_id
from billing.joined_customers j
where j.account_id = $1 and j.live_mode = $2 and j.main_stripe_customer_id = coalesce(
  (
    select main_stripe_customer_id
    from billing.joined_customers
    where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
  ),
  $3
)
order by 1
"""


async def select_all_of(connection: Connection, key: CustomerKey) -> list[CustomerKey]:
    """All customers that share the record of this one, which may be the main one or joined; in the order of keys."""
    rows = await connection.fetch(SELECT_ALL_OF, *key)
    return [CustomerKey(*key.scope, row[0]) for row in rows]


SELECT_MAIN_OF = """
select main_stripe_customer_id
from billing.joined_customers
where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""


async def select_main_of(connection: Connection, key: CustomerKey) -> CustomerKey:
    """The customer whose record this one's is: itself, if it is not joined."""
    main: str | None = await connection.fetchval(SELECT_MAIN_OF, *key)
    return key if main is None else CustomerKey(*key.scope, main)


SELECT_PAYER = """
select own.id
from unnest($3::text[]) with ordinality as own (id, place)
left join stripe.customers c on c.account_id = $1 and c.live_mode = $2 and c.id = own.id
left join stripe.subscriptions s
  on s.account_id = $1 and s.live_mode = $2 and s.id = $4 and s.customer_id = own.id
order by c.deleted_at is not null, s.id is null, own.place
limit 1
"""


async def select_payer(connection: Connection, record: StoredCustomer) -> str | None:
    """The customer of Stripe's as which it buys, and which the billing portal shows: of several the one that has the
    current subscription, else the main one, but none that was deleted. None: Stripe does not know it.
    """
    if record.stripe_customer_id is None:
        return None
    scope = Scope(record.account_id, record.live_mode)
    joined = (await select_joins(connection, scope, [record.stripe_customer_id])).joined_to(
        record.stripe_customer_id
    )
    if not joined:
        return record.stripe_customer_id
    ids = [record.stripe_customer_id, *joined]
    found: str = await connection.fetchval(SELECT_PAYER, *scope, ids, record.stripe_subscription_id)
    return found
