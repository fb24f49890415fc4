-- migrate:up

-- One history of the database: ticks, numbers of changes and inbox numbers mean something only while no committed
-- transaction is lost (docs/decisions/0009).

-- Incarnations --------------------------------------------------------------------------------------------------------

create table sync.epochs (
  number        bigint      primary key,
  epoch         uuid        not null,
  begun_at      timestamptz not null default now(),
  first_tick    bigint      not null,
  first_change  bigint      not null,
  reason        text        not null
);
comment on table sync.epochs is
  'The incarnations of this database, the latest last. Each begins when transactions may have been lost, or numbers went back.';
comment on column sync.epochs.number is 'Counts them.';
comment on column sync.epochs.epoch is 'Its name, drawn at random: what readers of billing.epoch see.';
comment on column sync.epochs.begun_at is 'When a session of ours noticed.';
comment on column sync.epochs.first_tick is
  'The first number of sync.tick in it. A tick below it, or above the last one drawn, is of another incarnation.';
comment on column sync.epochs.first_change is 'The first number of billing.change in it.';
comment on column sync.epochs.reason is 'What was noticed.';

-- Unlogged: Postgres empties it whenever transactions may have been lost (recovery after a crash, a promoted standby, a
-- restored base backup), and keeps it when the server stops in good order.
create unlogged table sync.incarnation (
  epoch    uuid not null,
  made_by  xid
);
comment on table sync.incarnation is
  'The current incarnation, in one row. Empty, or not as this transaction wrote it: another one is to begin.';
comment on column sync.incarnation.epoch is 'sync.epochs.epoch of the current incarnation.';
comment on column sync.incarnation.made_by is
  'The transaction that wrote the row: its xmin. A dump that is restored brings another xmin, and so a row that does not count.';

create view sync.current_incarnation as
select e.epoch, e.first_tick, (select last_value from sync.tick) as last_tick, e.first_change
from sync.incarnation i
join sync.epochs e on e.epoch = i.epoch
where i.xmin = i.made_by and e.number = (select max(number) from sync.epochs);
comment on view sync.current_incarnation is
  'The incarnation in which ticks are drawn now; no row if another one is to begin.';
comment on column sync.current_incarnation.epoch is 'Its name.';
comment on column sync.current_incarnation.first_tick is 'Its first tick.';
comment on column sync.current_incarnation.last_tick is 'The last tick that was drawn.';
comment on column sync.current_incarnation.first_change is 'Its first number of a change.';

create function sync.broken_history(tick_seen bigint, change_seen bigint, thorough boolean) returns text
language plpgsql set search_path = pg_catalog as $function$
declare
  now_ record;
  change_ bigint;
  seq_ bigint;
begin
  select * into now_ from sync.current_incarnation;
  if not found then
    return case
      when exists (select from sync.epochs)
      then 'Postgres lost its last transactions (a crash, a failover), or was restored from a backup'
      else 'installed'
    end;
  end if;
  select case when is_called then last_value else last_value - 1 end into change_ from billing.change;
  select case when is_called then last_value else last_value - 1 end into seq_ from sync.events_seq_seq;
  return case
    when now_.last_tick < now_.first_tick or now_.last_tick < tick_seen
      then 'the sequence sync.tick was set back'
    when change_ < now_.first_change - 1 or change_ < change_seen
      or change_ < (select max(change) from billing.customers)
      then 'the sequence billing.change was set back'
    when seq_ < (select max(seq) from sync.events)
      then 'the inbox numbers were set back'
    when thorough and now_.last_tick < sync.greatest_tick()
      then 'the sequence sync.tick was set back'
  end;
end
$function$;
comment on function sync.broken_history(bigint, bigint, boolean) is
  'Why another incarnation is to begin; NULL: it is not. A caller that saw greater numbers says so. Thorough: looks at every row that bears a tick.';

create function sync.greatest_tick() returns bigint
language sql stable set search_path = pg_catalog as $function$
  select greatest(
    (select max(greatest(dirty, confirmed, told)) from sync.objects), (select max(begun_tick) from sync.scans),
    (select max(read_tick) from sync.drift)
  )
$function$;
comment on function sync.greatest_tick() is 'The greatest tick that any row bears. Reads all of sync.objects.';

create function sync.begin_incarnation(reason text, tick_seen bigint, change_seen bigint) returns void
language plpgsql set search_path = pg_catalog as $function$
declare
  before sync.epochs;
  new_epoch uuid := gen_random_uuid();
  new_tick bigint;
  new_change bigint;
  each record;
begin
  select * into before from sync.epochs order by number desc limit 1;
  select last_value into new_tick from sync.tick;
  -- In one history the sequence is ahead of its rows; if it was set back, only the rows know.
  if new_tick < greatest(before.first_tick, tick_seen) or begin_incarnation.reason like '%set back' then
    new_tick := greatest(new_tick, before.first_tick, tick_seen, sync.greatest_tick());
  end if;
  -- Ticks of two incarnations never meet, even if both began from one backup: each begins at a multiple of 2^30
  -- drawn at random, further on than a lost history can have come.
  new_tick := ((new_tick >> 30) + 1 + floor(random() * 4096)::bigint) << 30;
  perform setval('sync.tick', new_tick, false);

  select greatest(case when is_called then last_value else last_value - 1 end, change_seen,
    (select max(c.change) from billing.customers c)) into new_change from billing.change;
  -- Readers may have seen greater numbers than these: the next thousand million is beyond all of them.
  new_change := case
    when before.number is null then new_change + 1 else (new_change / 1000000000 + 1) * 1000000000
  end;
  perform setval('billing.change', new_change, false);

  for each in
    select * from (values
      ('sync.events', 'seq'), ('sync.scans', 'id'), ('sync.rebuilds', 'id'), ('billing.status_changes', 'id'),
      ('billing.mrr_changes', 'id')
    ) as numbered (of, number)
  loop
    execute format(
      'select setval(%1$L, most) from (select max(%2$I) as most from %3$s) held, %1$s drawn where most > drawn.last_value',
      pg_get_serial_sequence(each.of, each.number), each.number, each.of
    );
  end loop;

  insert into sync.epochs (number, epoch, first_tick, first_change, reason)
  values (coalesce(before.number, 0) + 1, new_epoch, new_tick, new_change, begin_incarnation.reason);
  delete from sync.incarnation;
  insert into sync.incarnation (epoch) values (new_epoch);
  -- Both versions of the row are of one (sub)transaction.
  update sync.incarnation set made_by = xmin;
  if before.number is null then
    return;
  end if;
  -- Events that were answered with 200 may be among what was lost.
  update sync.accounts set due_at = now() where due_at > now();
  insert into sync.alarms (name, detail, remedy)
  values (
    'history of the database',
    format(
      '%s; noticed at %s UTC. Reads of Stripe that were under way are thrown away, and gap fill finds lost events of the '
      'last 30 days. Let readers of `change` read everything again (docs/record.md, billing.epoch), and run '
      '`subledger audit --repair` for the rest',
      begin_incarnation.reason, to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')
    ),
    'let readers of `change` read everything again, and run `subledger audit --repair`'
  )
  on conflict (name) do update set detail = excluded.detail, said_at = now();
  perform pg_notify('billing_customers', new_change::text);
end
$function$;
comment on function sync.begin_incarnation(text, bigint, bigint) is
  'Raises every sequence above what any row bears, and begins another epoch. The caller holds the lock of sync.incarnation.';

create function sync.keep_one_history(
  tick_seen bigint default 0, change_seen bigint default 0, thorough boolean default false
) returns table (epoch uuid, tick bigint, change bigint)
language plpgsql set search_path = pg_catalog as $function$
declare
  reason text;
begin
  if pg_is_in_recovery() then
    raise read_only_sql_transaction using message = 'this server is a standby: it can only be read';
  end if;
  reason := sync.broken_history(tick_seen, change_seen, thorough);
  if reason is not null then
    lock table sync.incarnation in exclusive mode;
    -- Another session may have been faster.
    reason := sync.broken_history(tick_seen, change_seen, thorough);
    if reason is not null then
      perform sync.begin_incarnation(reason, tick_seen, change_seen);
    end if;
  end if;
  return query
    select c.epoch, c.last_tick, (select case when is_called then last_value else last_value - 1 end from billing.change)
    from sync.current_incarnation c;
end
$function$;
comment on function sync.keep_one_history(bigint, bigint, boolean) is
  'Begins another incarnation if that is needed; returns the current one, and the last numbers drawn. Each session of ours begins with it.';

create view billing.epoch as
select e.epoch, e.begun_at, e.first_change, e.reason
from sync.epochs e
order by e.number desc
limit 1;
comment on view billing.epoch is
  'One row: the epoch in which `change` counts now. When it is another one than a reader has stored, that reader reads everything again.';
comment on column billing.epoch.epoch is 'Its name. Two numbers of `change` compare only within one epoch.';
comment on column billing.epoch.begun_at is 'When it began.';
comment on column billing.epoch.first_change is 'Its first number: greater than any before it.';
comment on column billing.epoch.reason is
  'Why it began: installed, or transactions that were lost, or a sequence that was set back.';


-- Numbering -----------------------------------------------------------------------------------------------------------

create table sync.numbering ();
comment on table sync.numbering is
  'Has no rows. Whoever numbers changes of records locks it, last in its transaction. An advisory lock can be taken by any role; this one only by who has rights here.';
comment on sequence billing.change is
  'Numbers changes of records. Drawn only under the lock of sync.numbering, which is held to the commit, so that a poll misses none.';


-- Identities: whose uid it is -----------------------------------------------------------------------------------------

create function sync.sha1(message bytea) returns bytea
language plpgsql immutable strict parallel safe set search_path = pg_catalog as $function$
declare
  mask constant bigint := 4294967295;
  h bigint[] := array[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
  padded bytea := message || '\x80'::bytea
    || decode(repeat('00', (119 - length(message) % 64) % 64), 'hex') || int8send(length(message) * 8::bigint);
  w bigint[];
  a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; k bigint; x bigint;
begin
  for block in 0 .. length(padded) / 64 - 1 loop
    for t in 0 .. 79 loop
      if t < 16 then
        x := 0;
        for i in 0 .. 3 loop
          x := (x << 8) | get_byte(padded, block * 64 + t * 4 + i);
        end loop;
      else
        x := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
        x := ((x << 1) | (x >> 31)) & mask;
      end if;
      w[t] := x;
    end loop;
    a := h[1]; b := h[2]; c := h[3]; d := h[4]; e := h[5];
    for t in 0 .. 79 loop
      if t < 20 then f := (b & c) | ((~b & mask) & d); k := 1518500249;
      elsif t < 40 then f := b # c # d; k := 1859775393;
      elsif t < 60 then f := (b & c) | (b & d) | (c & d); k := 2400959708;
      else f := b # c # d; k := 3395469782;
      end if;
      x := ((((a << 5) | (a >> 27)) & mask) + f + e + k + w[t]) & mask;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & mask; b := a; a := x;
    end loop;
    h := array[(h[1] + a) & mask, (h[2] + b) & mask, (h[3] + c) & mask, (h[4] + d) & mask, (h[5] + e) & mask];
  end loop;
  return substring(int8send(h[1]) from 5) || substring(int8send(h[2]) from 5) || substring(int8send(h[3]) from 5)
    || substring(int8send(h[4]) from 5) || substring(int8send(h[5]) from 5);
end
$function$;
comment on function sync.sha1(bytea) is 'SHA-1, which uuid5 is made of; Postgres itself has it only in extensions.';

create function sync.customer_uid(account_id text, live_mode boolean, stripe_customer_id text) returns uuid
language plpgsql immutable strict parallel safe set search_path = pg_catalog as $function$
declare
  digest bytea := sync.sha1(
    decode('de58e270f9f04048ab1ef63051485ef5', 'hex')
    || convert_to(account_id || case when live_mode then '/live/' else '/test/' end || stripe_customer_id, 'UTF8')
  );
begin
  digest := set_byte(digest, 6, (get_byte(digest, 6) & 15) | 80);
  digest := set_byte(digest, 8, (get_byte(digest, 8) & 63) | 128);
  return encode(substring(digest for 16), 'hex')::uuid;
end
$function$;
comment on function sync.customer_uid(text, boolean, text) is
  'The uid of a customer that Stripe knew first: uuid5 of account, mode and Stripe id, as customer_uid in billing/record.py.';

create function sync.complete_identity() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  own uuid;
begin
  if tg_op = 'UPDATE' and (new.uid, new.account_id, new.live_mode, new.stripe_customer_id)
    is not distinct from (old.uid, old.account_id, old.live_mode, old.stripe_customer_id) then
    return new;
  end if;
  if new.live_mode is null then
    select k.live_mode into new.live_mode from sync.key k;
    if not found then
      raise not_null_violation using
        message = 'billing.identities: live_mode is missing, and no API key has said yet which mode this database serves',
        hint = 'Say live_mode: true or false.';
    end if;
  end if;
  own := sync.customer_uid(new.account_id, new.live_mode, new.stripe_customer_id);
  new.uid := coalesce(new.uid, own, gen_random_uuid());
  -- Version 5 is what customers have that Stripe knew first. Nobody else may have one: so no identity can take a record
  -- from its customer, nor from one whose record is being written just now or will be next year.
  if substring(new.uid::text from 15 for 1) = '5' and new.uid is distinct from own then
    raise check_violation using
      message = format(
        'billing.identities: the uid %s is not the one of %s', new.uid,
        coalesce('customer ' || new.stripe_customer_id, 'an identity without a Stripe customer')
      ),
      detail = 'A uid of version 5 belongs to one Stripe customer: that from whose account, mode and id it is computed.',
      hint = 'Leave uid out, or give one that was drawn at random (gen_random_uuid()).',
      constraint = 'uid_is_its_own_customers', schema = 'billing', table = 'identities';
  end if;
  return new;
end
$function$;
comment on function sync.complete_identity() is
  'Gives an identity its mode (that of the API key) and its uid (that of its Stripe customer, else a random one) if they are left out, and refuses the uid of another Stripe customer.';
revoke execute on function sync.complete_identity() from public;

create trigger complete before insert or update on billing.identities
  for each row execute function sync.complete_identity();
comment on column billing.identities.uid is
  'Our id of the customer, forever. Left out: that of the Stripe customer, else a random one. A uid of version 5 is refused, unless it is that of this row''s own Stripe customer.';
comment on column billing.identities.live_mode is
  'true: live mode, false: test mode. Left out: the mode of the API key that filled this database.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
