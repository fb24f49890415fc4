-- migrate:up

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
  'Gives an identity its mode (that of the API key) and its uid (that of its Stripe customer, else a random one) where they are left out, and refuses the uid of another Stripe customer.';
revoke execute on function sync.complete_identity() from public;

create trigger complete before insert or update on billing.identities
  for each row execute function sync.complete_identity();
comment on column billing.identities.uid is
  'Our id of the customer, forever. Left out: that of the Stripe customer, else a random one. A uid of version 5 is refused, unless it is that of this row''s own Stripe customer.';
comment on column billing.identities.live_mode is
  'true: live mode, false: test mode. Left out: the mode of the API key that filled this database.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
