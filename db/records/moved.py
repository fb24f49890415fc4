"""What customers have used follows them to other uids."""

_MOVE_EVENTS = """
update billing.usage_events e set customer_uid = moved.after
from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
where e.customer_uid = moved.before
"""
_MOVE_MINUTES = """
with left_behind as (
  delete from billing.usage_minutes m
  using unnest($1::uuid[], $2::uuid[]) as moved (before, after)
  where m.customer_uid = moved.before
  returning moved.after as customer_uid, m.feature_id, m.entity_id, m.minute, m.value
)
insert into billing.usage_minutes as m (customer_uid, feature_id, entity_id, minute, value)
select customer_uid, feature_id, entity_id, minute, sum(value)
from left_behind
group by 1, 2, 3, 4
order by 1, 2, 4, 3
on conflict (customer_uid, feature_id, minute, md5(entity_id)) do update set value = m.value + excluded.value
"""
# What waited for a link is looked at again: the other customer may be linked.
_MOVE_METER_EVENTS = """
update sync.meter_events e
set customer_uid = moved.after,
  due_at = case when e.state = 'queued' and e.attempts = 0 then now() else e.due_at end
from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
where e.customer_uid = moved.before
"""
MOVE_USAGE = (_MOVE_EVENTS, _MOVE_MINUTES, _MOVE_METER_EVENTS)
"""What customers have used follows them to other uids: $1 before, $2 after."""
