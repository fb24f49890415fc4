"""What a customer has used of each feature in its current period, as it was tracked here; with the seats that its
entities take.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureUsage:
    """What a customer has used of a feature in its current period, all of it or by an entity."""

    feature_id: str
    entity_id: str | None
    used: Decimal
    since: datetime | None
    """None: of all time, since no subscription with a period includes the feature."""


# A feature without a limit is counted over the period of the subscriptions that are running.
SELECT_FEATURE_USAGE = """
with features as materialized (
  select f.feature_id, coalesce(
    (
      select min(nullif(s.used_since, '-infinity')) filter (where s.granted is not null)
      from sync.features_sold s
      where s.customer_uid = $1 and s.feature_id = f.feature_id
    ),
    (
      select date_trunc('minute', min(p.current_period_start))
      from billing.customer_products p
      where p.customer_uid = $1 and p.has_access
    )
  ) as since
  from (
    select feature_id from billing.usage_minutes where customer_uid = $1
    union
    select feature_id from billing.usage_events where customer_uid = $1 and pending
    union
    select feature_id from billing.local_entities where customer_uid = $1 and feature_id is not null
  ) f
)
select f.feature_id, t.entity_id, sum(t.value) as used, f.since
from features f
cross join lateral (
  select m.entity_id, m.value
  from billing.usage_minutes m
  where m.customer_uid = $1 and m.feature_id = f.feature_id and m.minute >= coalesce(f.since, '-infinity')
  union all
  select e.entity_id, e.value
  from billing.usage_events e
  where e.pending and e.customer_uid = $1 and e.feature_id = f.feature_id
    and e.used_at >= coalesce(f.since, '-infinity')
  union all
  select null, 1
  from billing.local_entities l
  where l.customer_uid = $1 and l.feature_id = f.feature_id
) t
group by 1, 2, 4
order by 1, 2 nulls first
"""


async def select_feature_usage(connection: Connection, uid: UUID) -> list[FeatureUsage]:
    """What the customer has used of each feature in its current period, as far as it was tracked here."""
    return [FeatureUsage(**row) for row in await connection.fetch(SELECT_FEATURE_USAGE, uid)]
