"""The customers that a change of the catalogue concerns: found and marked some at a time, since it may be all of them.

A product, a price, a feature or a coupon names no customer. The progress of its fan-out is kept in its own row of
sync.objects, and is committed with the marks; so it continues wherever it was cut off, and holds no lock for long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.connection import Connection
from db.keys import Key, columns_of_keys

# A holder is a subscription, or a schedule that has not started, or a customer. They are found in the order of their
# ids, by an index, so that each batch costs the same however many there are. (Those of a coupon are found all at once,
# and the first of them taken: its terms never change, so this is done when it comes, and seldom again.)
_SCHEDULED = """
  select distinct i.schedule_id as id
  from stripe.subscription_schedule_items i
  join stripe.subscription_schedules s
    on s.account_id = i.account_id and s.live_mode = i.live_mode and s.id = i.schedule_id
  where i.account_id = $1 and i.live_mode = $2 and s.status = 'not_started' and i.schedule_id > $4
"""

SELECT_HOLDERS_OF_PRODUCT = f"""
(
  select distinct i.subscription_id as id
  from stripe.subscription_items i
  where i.account_id = $1 and i.live_mode = $2 and i.product_id = $3 and i.subscription_id > $4
  order by 1
  limit $5
)
union
(
  {_SCHEDULED}
    and i.price_id = any (
      array(select p.id from stripe.prices p where p.account_id = $1 and p.live_mode = $2 and p.product_id = $3)
    )
  order by 1
  limit $5
)
order by 1
limit $5
"""

YOUNGER_MAX = 1_000
"""Prices of a product that are younger than one of them, up to which their holders are looked for price by price."""

# A price has a rank among its product's prices: one that comes or goes concerns every customer that has a younger one.
# Mostly it is the youngest, and others of the product may have thousands of holders: so these are not gone through. A
# price that comes late has many younger ones: then the holders of all that are not older are gone through.
SELECT_HOLDERS_OF_PRICE = f"""
with younger as materialized (
  select own.id
  from stripe.prices p
  join lateral (
    (
      select o.id
      from stripe.prices o
      where o.account_id = $1 and o.live_mode = $2 and o.product_id = p.product_id and o.recurring
        and (o.created, o.id collate "C") > (p.created, p.id collate "C")
      order by o.created nulls first, o.id collate "C"
      limit {YOUNGER_MAX + 1}
    )
    union all
    (
      select o.id
      from stripe.prices o
      where o.account_id = $1 and o.live_mode = $2 and o.product_id = p.product_id and o.recurring
        and p.created is null and o.created is not null
      limit {YOUNGER_MAX + 1}
    )
  ) own on true
  where p.account_id = $1 and p.live_mode = $2 and p.id = $3 and p.recurring
)
(
  select distinct i.subscription_id as id
  from stripe.subscription_items i
  where i.account_id = $1 and i.live_mode = $2 and i.price_id = $3 and i.subscription_id > $4
  order by 1
  limit $5
)
union
(
  select distinct held.subscription_id
  from younger
  join lateral (
    select i.subscription_id
    from stripe.subscription_items i
    where i.account_id = $1 and i.live_mode = $2 and i.price_id = younger.id and i.subscription_id > $4
    order by i.subscription_id
    limit $5
  ) held on true
  where (select count(*) from younger) <= {YOUNGER_MAX}
  order by 1
  limit $5
)
union
(
  select distinct i.subscription_id
  from stripe.subscription_items i
  where i.account_id = $1 and i.live_mode = $2 and i.subscription_id > $4
    and i.product_id = (
      select p.product_id from stripe.prices p where p.account_id = $1 and p.live_mode = $2 and p.id = $3
    )
    and (select count(*) from younger) > {YOUNGER_MAX}
    and i.price_id not in (
      select own.id
      from stripe.prices own
      where own.account_id = $1 and own.live_mode = $2
        and own.product_id = (
          select p.product_id from stripe.prices p where p.account_id = $1 and p.live_mode = $2 and p.id = $3
        )
        and (own.created, own.id collate "C") < (
          select p.created, p.id collate "C"
          from stripe.prices p
          where p.account_id = $1 and p.live_mode = $2 and p.id = $3
        )
    )
  order by 1
  limit $5
)
union
(
  {_SCHEDULED}
    and i.price_id = $3
  order by 1
  limit $5
)
order by 1
limit $5
"""

SELECT_ENTITLED_TO = """
select distinct e.customer_id as id
from stripe.active_entitlements e
where e.account_id = $1 and e.live_mode = $2 and e.feature_id = $3 and e.customer_id > $4
order by 1
limit $5
"""

# Its discounts are kept with subscriptions, their items, and customers. `<> '[]'` is what their indexes hold.
_ITS_DISCOUNT = """discounts @> jsonb_build_array(jsonb_build_object('coupon_id', $3::text))
    and {of}.discounts <> '[]'::jsonb"""

SELECT_HOLDERS_OF_COUPON = f"""
(
  select distinct s.customer_id as id
  from stripe.subscriptions s
  where s.account_id = $1 and s.live_mode = $2 and s.customer_id > $4 and s.{_ITS_DISCOUNT.format(of="s")}
  order by 1
  limit $5
)
union
(
  select distinct s.customer_id
  from stripe.subscription_items i
  join stripe.subscriptions s
    on s.account_id = i.account_id and s.live_mode = i.live_mode and s.id = i.subscription_id
  where i.account_id = $1 and i.live_mode = $2 and s.customer_id > $4 and i.{_ITS_DISCOUNT.format(of="i")}
  order by 1
  limit $5
)
union
(
  select c.id
  from stripe.customers c
  where c.account_id = $1 and c.live_mode = $2 and c.id > $4 and c.{_ITS_DISCOUNT.format(of="c")}
  order by 1
  limit $5
)
order by 1
limit $5
"""

SELECT_HOLDERS: Mapping[str, str] = {
    "product": SELECT_HOLDERS_OF_PRODUCT,
    "price": SELECT_HOLDERS_OF_PRICE,
    "feature": SELECT_ENTITLED_TO,
    "coupon": SELECT_HOLDERS_OF_COUPON,
}
"""Per kind that fans out: the ids after $4 that it concerns, in order. They are of subscriptions and schedules; for
features and coupons, of customers."""

# Only customers that are known: a backfill makes the others' records when it has read all of them. By key throughout,
# whatever the planner estimates: `offset 0`, and an insert that always conflicts. A join read the whole table.
MARK_CONCERNED = """
with found as (
  select account_id, live_mode, id as customer_id
  from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  where kind in ('feature', 'coupon')
  union
  select k.account_id, k.live_mode, subscription.customer_id
  from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  join lateral (
    select s.customer_id
    from stripe.subscriptions s
    where s.account_id = k.account_id and s.live_mode = k.live_mode and s.id = k.id
    offset 0
  ) subscription on true
  union
  select k.account_id, k.live_mode, schedule.customer_id
  from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  join lateral (
    select s.customer_id
    from stripe.subscription_schedules s
    where s.account_id = k.account_id and s.live_mode = k.live_mode and s.id = k.id
    offset 0
  ) schedule on true
)
insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since)
select account_id, live_mode, customer_id, 1, now()
from found
join lateral (
  select
  from sync.customers k
  where k.account_id = found.account_id and k.live_mode = found.live_mode and k.customer_id = found.customer_id
  offset 0
) known on true
order by account_id, live_mode, customer_id
on conflict (account_id, live_mode, customer_id) do update set
  stale = c.stale + 1,
  stale_since = case when c.stale > c.derived then c.stale_since else now() end,
  attempts = case when c.parked_at is null then c.attempts else 0 end,
  parked_at = null
"""

# An object that another worker is marking is skipped; the others are taken meanwhile. Waiting objects are found by
# their own small index, whatever the planner estimates.
CLAIM_FANS = """
with head as materialized (
  select account_id, live_mode, kind, id, touched_at
  from sync.objects
  where touched > resolved
  order by touched_at
  limit 4000
), next as (
  select account_id, live_mode, kind, id
  from head
  where kind = any ($1::text[])
  order by touched_at
  limit $2
)
select o.account_id, o.live_mode, o.kind, o.id, coalesce(o.fan_touched, o.touched) as touched,
  coalesce(o.fan_after, '') as after
from sync.objects o
join next using (account_id, live_mode, kind, id)
where o.touched > o.resolved
order by 1, 2, 3, 4
for no key update of o skip locked
"""

SAVE_FANS = """
update sync.objects o
set resolved = case when new.after is null then greatest(o.resolved, new.touched) else o.resolved end,
  fan_touched = case when new.after is not null then new.touched end,
  fan_after = new.after
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::bigint[], $6::text[])
  as new (account_id, live_mode, kind, id, touched, after)
where (o.account_id, o.live_mode, o.kind, o.id) = (new.account_id, new.live_mode, new.kind, new.id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fan:
    key: Key
    touched: int
    after: str | None  # None: all customers that it concerns are marked


# By the index of what waits, as CLAIM_FANS: a planner takes a third of all objects for touched, and goes through the
# table to meet the first of them. Mostly there is none, and the table has millions of rows.
SELECT_FANS_WAIT = """
with head as materialized (
  select kind
  from sync.objects
  where touched > resolved
  order by touched_at
  limit 4000
)
select exists (select from head where kind = any ($1::text[]))
"""


async def fans_wait(connection: Connection) -> bool:
    """Whether an object of the catalogue has changed whose customers are not marked yet."""
    waiting: bool = await connection.fetchval(SELECT_FANS_WAIT, list(SELECT_HOLDERS))
    return waiting


async def fan_out(connection: Connection, *, objects: int, holders: int) -> int:
    """Mark customers of up to so many touched objects, going through so many holders; returns how many objects were
    looked at. In one transaction of the caller's: objects before customers.

    The value of `touched` is read before any of the holders, and kept until the last of them: it resolves no change
    that came later. A holder that is not committed yet, or whose id has been passed already, need not be seen: the
    transaction that commits it marks its customer, whose derivation begins after it and so sees the object as it is
    now.
    """
    rows = await connection.fetch(CLAIM_FANS, list(SELECT_HOLDERS), objects)
    fans: list[_Fan] = []
    found: list[Key] = []
    for row in rows:
        account_id, live_mode, kind, object_id, touched, after = row
        left = holders - len(found)
        if not left:
            break
        page = await connection.fetch(SELECT_HOLDERS[kind], account_id, live_mode, object_id, after, left)
        found += [Key(account_id, live_mode, kind, each["id"]) for each in page]
        fans.append(
            _Fan(
                key=Key(account_id, live_mode, kind, object_id),
                touched=touched,
                after=page[-1]["id"] if len(page) == left else None,
            )
        )
    if fans:
        await connection.execute(
            SAVE_FANS,
            *columns_of_keys(Key, [fan.key for fan in fans]),
            [f.touched for f in fans],
            [f.after for f in fans],
        )
    if found:
        await mark_concerned(connection, found)
    return len(fans)


async def mark_concerned(connection: Connection, holders: Sequence[Key]) -> None:
    """Raise `stale` of the customers that these holders belong to; each comes with the kind that led to it."""
    await connection.execute(MARK_CONCERNED, *columns_of_keys(Key, holders))
