"""I9: what a statement finds in one account and mode does not depend on what there is in others."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from db.connection import Connection, Pool
from tests.db.test_plans import FILL
from tests.db.test_statements import ALL

CUSTOMERS = 100
OTHERS = (("acct_b", False), ("", True))
NUMBERS = (3, 10, 30, 99, 100)
IDS = {
    "customer": "cus", "subscription": "sub", "invoice": "in", "invoice_payment": "inpay", "charge": "ch",
    "refund": "re", "dispute": "dp", "price": "price", "product": "prod", "coupon": "co", "feature": "feat",
    "checkout_session": "cs", "credit_note": "cn", "subscription_schedule": "sub_sched", "payment_intent": "pi",
    "event": "evt", "own": "own", "uid": "uid",
}  # fmt: skip
TEXTS = ("", "customer", "charge", "cus_3", "sub_3", "price_3", "prod_3", "ch_3", "own_3")
KEYS = [(kind, f"{prefix}_{number}") for kind, prefix in IDS.items() for number in NUMBERS]

# The same rows in another account or mode. What is unique everywhere gets values of its own.
COPY = """
do $$
declare t record;
begin
  set local session_replication_role = replica;
  for t in
    select c.oid::regclass as name, string_agg(quote_ident(a.attname), ', ') as columns,
      string_agg(
        case
          when a.attname = 'account_id' then quote_literal('{account}')
          when a.attname = 'live_mode' then quote_literal('{live}')
          when a.atttypid = 'uuid'::regtype
            then 'md5(' || quote_ident(a.attname) || '::text || ''{account}{live}'')::uuid'
          when a.attname = 'change' then 'nextval(''billing.change'')'
          else quote_ident(a.attname)
        end, ', '
      ) as values
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity = ''
      and a.attgenerated = ''
    where c.relkind = 'r' and c.relnamespace in ('sync'::regnamespace, 'stripe'::regnamespace, 'billing'::regnamespace)
    group by c.oid
    having count(*) filter (where a.attname in ('account_id', 'live_mode')) = 2
  loop
    execute format(
      'insert into %1$s (%2$s) select %3$s from %1$s where account_id = '''' and not live_mode',
      t.name, t.columns, t.values
    );
  end loop;
end $$
"""

MISSING = ("stripe.invoices", "stripe.charges", "stripe.prices", "stripe.products", "stripe.subscriptions")
FORGET_OTHERS = """
do $$
declare t record;
begin
  set local session_replication_role = replica;
  for t in
    select a.attrelid::regclass as name
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind = 'r'
    where a.attname = 'live_mode' and c.relnamespace in (
      'sync'::regnamespace, 'stripe'::regnamespace, 'billing'::regnamespace
    ) and exists (select from pg_attribute b where b.attrelid = c.oid and b.attname = 'account_id')
  loop
    execute format('delete from %s where account_id <> '''' or live_mode', t.name);
  end loop;
end $$
"""

RESET = "select setval('sync.tick', 9000000), setval('billing.change', 9000000)"
OF_ONE_SCOPE = re.compile(r"account_id = \$1\b.*live_mode = \$2\b", re.DOTALL)
UNNESTED = re.compile(r"unnest\(\s*((?:\$\d+::\w+\[\],?\s*)+)\)\s*as \w+ \(([^)]*)\)")


def plain(value: object) -> object:
    """What must be the same the next time: not moments, and no random ids."""
    return None if isinstance(value, datetime | timedelta | UUID) else value


def by_name(name: str, type_: str) -> list[Any]:
    """An array that is unnested beside others: the keys of one scope, and anything for the rest."""
    rest = {
        "text": "x", "boolean": False, "bigint": 5, "integer": 5, "timestamptz": MOMENT, "interval": HOUR,
        "uuid": UUID(int=0), "numeric": 1, "jsonb": "{}", "json": "{}",
    }  # fmt: skip
    match name:
        case "account_id":
            return [""] * len(KEYS)
        case "kind":
            return [kind for kind, _ in KEYS]
        case "id" | "object_id":
            return [id_ for _, id_ in KEYS]
        case "customer_id" | "stripe_customer_id":
            return [f"cus_{NUMBERS[place % len(NUMBERS)]}" for place in range(len(KEYS))]
        case _:
            return [rest.get(type_)] * len(KEYS)


MOMENT = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def parameters(statement: str, types: list[str]) -> Iterator[list[Any]]:
    """What to run a statement with, so that it is about the scope ('', test mode); nothing if it is about no scope."""
    unnested = UNNESTED.search(statement)
    if not OF_ONE_SCOPE.search(statement) and (unnested is None or "account_id" not in unnested[2]):
        return
    given: dict[int, Any] = {}
    if unnested is not None and "account_id" in unnested[2]:
        names = [each.strip() for each in unnested[2].split(",")]
        found = re.findall(r"\$(\d+)::(\w+)\[\]", unnested[1])
        given = {
            int(number) - 1: by_name(name, type_) for (number, type_), name in zip(found, names, strict=True)
        }
    else:
        given = {0: "", 1: False}
    simple: dict[str, Any] = {
        "bool": True, "int8": 20, "int4": 20, "timestamptz": MOMENT, "interval": HOUR, "uuid": UUID(int=0),
        "text[]": [id_ for _, id_ in KEYS], "jsonb": "{}", "json": "{}", "int8[]": list(NUMBERS), "bool[]": [False],
    }  # fmt: skip
    asks_for_text = any(place not in given and type_ == "text" for place, type_ in enumerate(types))
    for text in TEXTS if asks_for_text else ("",):
        yield [
            given[place] if place in given else text if type_ == "text" else simple.get(type_)
            for place, type_ in enumerate(types)
        ]


async def answers(connection: Connection) -> dict[str, object]:
    """What each statement about one scope answers there; each is undone."""
    told: dict[str, object] = {}
    for name, statement in ALL.items():
        prepared = await connection.prepare(statement)
        types = [f"{each.name}" for each in prepared.get_parameters()]
        for number, values in enumerate(parameters(statement, types)):
            transaction = connection.transaction()
            await transaction.start()
            try:
                if "nextval" in statement:
                    await connection.execute(RESET)
                rows = await prepared.fetch(*values)
                found = sorted(repr([plain(value) for value in row.values()]) for row in rows)
                told[f"{name} {number}"] = (prepared.get_statusmsg(), found)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                told[f"{name} {number}"] = type(error).__name__
            finally:
                await transaction.rollback()
    return told


async def test_i9_other_scopes_change_no_answer(pool: Pool) -> None:
    """I9: every statement about one account and mode says and does the same there, whether or not another account and
    the other mode have objects with the same ids.
    """
    async with pool.acquire() as connection:
        for statement in FILL.split(";\n"):
            await connection.execute(statement, *("", CUSTOMERS)[: 2 if "$2" in statement else 1])
        for account, live in OTHERS:
            await connection.execute(COPY.format(account=account, live=live))
        # What is missing here is there in the others.
        for table in MISSING:
            await connection.execute(
                f"delete from {table} where account_id = '' and not live_mode and id ~ '_(10|99)$'"
            )
        beside = await answers(connection)
        await connection.execute(FORGET_OTHERS)
        alone = await answers(connection)
    useful = [
        name for name, told in alone.items() if isinstance(told, tuple) and (told[1] or told[0][-2:] != " 0")
    ]
    assert len({name.rpartition(" ")[0] for name in useful}) > 100, useful
    assert {} == {name: (alone[name], beside[name]) for name in alone if alone[name] != beside[name]}
