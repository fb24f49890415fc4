"""Damage to a database that was right: mirror rows and records changed, deleted and invented, chosen by a seed."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from billing.kinds.subscriptions import SubscriptionItem
from billing.record import CustomerRecord
from db.columns import Column, columns_of
from db.connection import Connection
from db.sync.audits import RECORD

MARK = "damaged"
LONG_AGO = datetime(2001, 2, 3, tzinfo=UTC)

KEYS = {"id", "uid", "account_id", "live_mode"}
CHECKED = {"status": "past_due", "custom_uid": "damaged-uid"}
"""Columns of records that take only certain words."""


async def damage(connection: Connection, *, seed: int, rows: int, records: int) -> dict[tuple[str, str], str]:
    """Damage so many mirror rows and records; what each is, by kind and id."""
    choices = Random(seed)  # noqa: S311 - a damage must replay from its seed
    done: dict[tuple[str, str], str] = {}
    # Of the deleted there is nothing to compare with: Stripe tells their ids alone.
    whole = {
        kind.name: [
            row[0]
            for row in await connection.fetch(
                f"select id from {kind.table} where deleted_at is null order by id"
            )
        ]
        for kind in KINDS.values()
    }
    kinds = [kind for kind, ids in whole.items() if ids and kind not in LIST_CONFIRMED]
    for number in range(rows):
        kind = kinds[number % len(kinds)]
        if whole[kind]:
            way = choices.choices(("differs", "lacking", "surplus"), weights=(8, 2, 1))[0]
            chosen = whole[kind].pop(choices.randrange(len(whole[kind])))
            done[kind, await damage_row(connection, kind, chosen, way, choices)] = way
    # What no event has read is put right by the lists at once, and counted nowhere.
    for kind in sorted(LIST_CONFIRMED):
        for way in ("differs", "lacking"):
            if whole[kind]:
                chosen = whole[kind].pop(choices.randrange(len(whole[kind])))
                await damage_row(connection, kind, chosen, way, choices)
    done |= await damage_records(connection, choices, count=records)
    return done


async def damage_row(connection: Connection, kind: str, chosen: str, way: str, choices: Random) -> str:
    """Damage one row of a kind, or invent one like it; returns the id of the row that is wrong."""
    table = KINDS[kind].table
    match way:
        case "differs" if kind == "subscription" and choices.random() < 0.4:
            await damage_items(connection, chosen, choices)
        case "lacking":
            await connection.execute(f"delete from {table} where id = $1", chosen)
        case "surplus":
            invented = f"{kind[:3]}_invented{choices.randrange(10**12)}"
            columns = [column for column in columns_of(KINDS[kind].facts) if column.name != "id"]
            names = ", ".join(column.name for column in columns)
            await connection.execute(
                f"insert into {table} (account_id, live_mode, id, {names}, raw) "
                f"select account_id, live_mode, $2, {names}, raw from {table} where id = $1",
                chosen,
                invented,
            )
            chosen = invented
        case _:
            # What changes without an event is no drift.
            left_out = {*KEYS, *KINDS[kind].eventless_fields}
            columns = [column for column in columns_of(KINDS[kind].facts) if column.name not in left_out]
            await change(connection, table, "id", chosen, columns, choices)
    return chosen


async def damage_items(connection: Connection, subscription_id: str, choices: Random) -> None:
    """Damage one item of a subscription: change it, take it away, or invent one like it."""
    table = "stripe.subscription_items"
    items = await connection.fetch(
        f"select id from {table} where subscription_id = $1 order by id", subscription_id
    )
    chosen: str = choices.choice(items)[0]
    columns = [
        column for column in columns_of(SubscriptionItem) if column.name not in (*KEYS, "subscription_id")
    ]
    match choices.randrange(3):
        case 0:
            await connection.execute(f"delete from {table} where id = $1", chosen)
        case 1:
            names = ", ".join(column.name for column in columns_of(SubscriptionItem) if column.name != "id")
            await connection.execute(
                f"insert into {table} (account_id, live_mode, id, {names}) "
                f"select account_id, live_mode, id || 'invented', {names} from {table} where id = $1",
                chosen,
            )
        case _:
            await change(connection, table, "id", chosen, columns, choices)


async def damage_records(
    connection: Connection, choices: Random, *, count: int
) -> dict[tuple[str, str], str]:
    """Damage records: their fields, their products and revenue; take some away, and invent some."""
    done: dict[tuple[str, str], str] = {}
    rows = await connection.fetch("select uid, stripe_customer_id from billing.customers order by uid")
    chosen = choices.sample(rows, count)
    columns = [column for column in columns_of(CustomerRecord) if column.name not in KEYS]
    for number, row in enumerate(chosen):
        uid, customer_id = row["uid"], row["stripe_customer_id"]
        match number % 6:
            case 0:
                await connection.execute("delete from billing.customers where uid = $1", uid)
                done[RECORD, customer_id] = "lacking"
            case 1:
                gone = await connection.fetch(
                    "delete from billing.customer_products where customer_uid = $1 returning id", uid
                )
                if gone:
                    done[RECORD, customer_id] = "differs"
            case 2:
                changed = await connection.fetch(
                    "update billing.customer_revenue set gross = gross + 7, net = net + 7 where customer_uid = $1 "
                    "returning currency",
                    uid,
                )
                if changed:
                    done[RECORD, customer_id] = "differs"
            case 3:
                invented = f"cus_nobody{number}"
                await connection.execute(
                    "insert into billing.customers (uid, stripe_customer_id, account_id, live_mode, change) "
                    "values ($1, $2, '', false, nextval('billing.change'))",
                    UUID(int=choices.getrandbits(128)),
                    invented,
                )
                done[RECORD, invented] = "surplus"
            case _:
                await change(connection, "billing.customers", "uid", uid, columns, choices)
                done[RECORD, customer_id] = "differs"
    return done


async def change(
    connection: Connection, table: str, key: str, value: object, columns: list[Column], choices: Random
) -> None:
    """Give one column of one row another value than it has."""
    column = choices.choice(columns)
    if table == "billing.customers" and column.name in ("is_trial", "trial_end"):
        # A check holds them together.
        await connection.execute(
            f"update {table} set is_trial = not is_trial, "
            f"trial_end = case when is_trial then null else $2::timestamptz end where {key} = $1",
            value,
            LONG_AGO,
        )
        return
    before = await connection.fetchval(f"select {column.name} from {table} where {key} = $1", value)
    await connection.execute(
        f"update {table} set {column.name} = $2 where {key} = $1",
        value,
        another(column, before, choices, record=key == "uid"),
    )


def another(column: Column, before: Any, choices: Random, *, record: bool) -> object:
    """A value of the column's type that is not the one before, nor what a record would follow from a damaged row."""
    mark = f"{MARK} record" if record else MARK
    match column.type:
        case "boolean":
            return not before
        case "bigint":
            return (before or 0) + choices.randint(1, 1000)
        case "timestamptz":
            hours = choices.randint(1, 50)
            return LONG_AGO if before is None else before + timedelta(hours=hours, minutes=int(record))
        case "text[]":
            return [*(before or ()), mark]
        case "jsonb":
            found = None if before is None else json.loads(before)
            if isinstance(found, dict):
                return json.dumps({**found, mark: "yes"})
            # A list: of discounts, of tiers.
            return json.dumps([] if found else [{"id": MARK, "currency": MARK}])
        case _ if record and column.name in CHECKED:
            word = CHECKED[column.name]
            return (
                None
                if before == word
                else f"{word}{choices.randrange(10**6)}"
                if "uid" in column.name
                else word
            )
        case _:
            return f"{before or ''}{mark}"
