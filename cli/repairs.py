"""What `subledger doctor --fix` does about what was found: each repair is safe, and may be done again."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from cli.checks.finding import Cure, Finding, Repair, State
from cli.checks.stripe import open_stripe
from cli.connect import database
from cli.endpoint import hand_over, settle_endpoint
from cli.errors import CommandError, message_of
from db.migrate import migrate, readers_to_create, told
from db.sync.accounts import KeyAlarm, clear_alarms
from db.sync.incarnation import Numbers, keep_one_history
from runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of a repair."""

    repair: Repair
    done: bool
    said: str
    """What was done, or why it was not."""
    secret: str | None = None
    """The signing secret of an endpoint that was registered, unless it went into a file."""


def plan(found: Iterable[Finding]) -> list[Repair]:
    """The repairs of all findings, each once, in the order in which they are to be done.

    What was said about the key of a worker that is gone is over only if today's key works.
    """
    found = list(found)
    key_works = not any(each.check.startswith("stripe key") and each.state is not State.OK for each in found)
    chosen = {each.repair for each in found if each.repair is not None}
    if not key_works:
        chosen = {each for each in chosen if each.cure is not Cure.ALARM or each.target not in set(KeyAlarm)}
    order = list(Cure)
    return sorted(chosen, key=lambda each: (order.index(each.cure), each.target))


async def do(settings: Settings, repairs: Sequence[Repair], *, secret_file: Path | None) -> list[Repaired]:
    """Do them in turn. One that fails says why, and keeps none of the others from being done."""
    done = []
    for repair in repairs:
        try:
            done.append(await _do(settings, repair, secret_file=secret_file))
        except Exception as error:
            message = message_of(error)
            if message is None:
                raise
            done.append(Repaired(repair=repair, done=False, said=message))
    return done


async def _do(settings: Settings, repair: Repair, *, secret_file: Path | None) -> Repaired:
    secret = None
    match repair.cure:
        case Cure.MIGRATE:
            said = await asyncio.to_thread(_migrate, settings.database_url)
        case Cure.READERS:
            said = await asyncio.to_thread(_give_readers_their_rights, settings.database_url)
        case Cure.SEQUENCES:
            said = await _raise_sequences(settings)
        case Cure.ALARM:
            said = await _clear(settings, repair.target)
        case Cure.ENDPOINT:
            said, secret = await _settle(settings, repair.target, secret_file)
        case _:
            assert_never(repair.cure)
    return Repaired(repair=repair, done=True, said=said, secret=secret)


def _migrate(database_url: str) -> str:
    applied = migrate(database_url)
    return told(applied) if applied else "nothing was left to apply"


def _give_readers_their_rights(database_url: str) -> str:
    if without := readers_to_create(database_url):
        raise CommandError(
            f"this role may not create {' and '.join(without)}: have an administrator run "
            f"`{' '.join(f'create role {each} nologin;' for each in without)}`, then run `subledger migrate`"
        )
    return "readers may read"


async def _raise_sequences(settings: Settings) -> str:
    async with database(_environ(settings)) as connection:
        await keep_one_history(connection, Numbers(), thorough=True)
    return "they are above every row; readers of `change` read everything again"


async def _clear(settings: Settings, name: str) -> str:
    async with database(_environ(settings)) as connection:
        cleared = await clear_alarms(connection, [name])
    return "taken back" if cleared else "it stands no more"


async def _settle(settings: Settings, url: str, secret_file: Path | None) -> tuple[str, str | None]:
    async with open_stripe(settings) as stripe:
        state, secret = await settle_endpoint(stripe, url)
    return f"the endpoint is {state}", hand_over(secret, secret_file)


def _environ(settings: Settings) -> dict[str, str]:
    return {"DATABASE_URL": settings.database_url}
