"""The mirror's writer: objects go into the tables of their kinds, and their lists into the tables of parts."""

from collections.abc import Mapping
from dataclasses import dataclass

from billing.kinds.parse import Parsed
from billing.kinds.registry import KINDS
from db.connection import Connection
from db.keys import Key
from db.mirror.tables import PARTS, HeldParts, MirrorRow, select_changed, write_parts, write_rows
from db.sync.objects import touch_objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A payload that may be shown for an object until a read confirms it."""

    parsed: Parsed
    raw: str


def is_terminal(parsed: Parsed) -> bool:
    """Whether the object is in a state that Stripe never leaves."""
    status = getattr(parsed.facts, "status", None)
    return status in KINDS[parsed.kind].absorbing


async def write_mirror(
    connection: Connection, shown: Mapping[Key, Shown], *, confirmed: bool, touches: bool = True
) -> None:
    """Write objects into the mirror, one statement per table, in the registry's order.

    The caller has locked their rows in sync.objects. Kinds of the catalogue, and coupons, are touched when their facts
    change, because they concern customers that they do not name. `touches` is False if all customers are derived
    afterwards.
    """
    rows_of: dict[str, dict[Key, MirrorRow]] = {}
    for key, each in shown.items():
        if each.parsed.facts is not None:
            row = MirrorRow(
                account_id=key.account_id, live_mode=key.live_mode, facts=each.parsed.facts, raw=each.raw
            )
            rows_of.setdefault(key.kind, {})[key] = row
    for kind in KINDS.values():
        rows = rows_of.get(kind.name)
        if not rows:
            continue
        if touches and kind.catalogue and kind.confirmed_by == "reads":
            changed = await select_changed(connection, kind.name, list(rows.values()))
            if changed:
                await touch_objects(connection, changed)
        await write_rows(connection, kind.name, list(rows.values()), confirmed=confirmed)
        if kind.name in PARTS:
            held = [
                HeldParts(
                    account_id=key.account_id,
                    live_mode=key.live_mode,
                    owner_id=key.id,
                    parts=shown[key].parsed.parts,
                    cut=shown[key].parsed.items_cut,
                )
                for key in rows
            ]
            await write_parts(connection, kind.name, held)
