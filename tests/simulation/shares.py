"""Worlds that are played in turn, what many such shares add up to, and which deaths none of them has had yet."""

import fcntl
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import structlog

from tests.faults import AFTER, BEFORE
from tests.simulation.deaths import Death, mortality
from tests.simulation.world import Ground, Played, play

Task = tuple[int, tuple[Death, ...]]
"""A seed, and where workers are to die in addition to where the seed says."""

WITH_DEATHS = 2
"""How many of these a world has: others are left to chance."""

EAGERNESS = 1 / 3
"""How probably a worker dies where none has died yet, while most worlds are still to be played."""

OFTEN = 1 / 20
OFTEN_MIN = 10
"""In what part of the worlds, and how many at least, workers must pass a commit point before its deaths are demanded:
passing a rarer one is timing-dependent, and no further world would be sure to pass it again.
"""


async def play_tasks(ground: Ground, tasks: Sequence[Task]) -> list[Played]:
    """Play these worlds one after the other on this ground."""
    with quiet(), mortality():
        return [await play(ground, seed, at=at) for seed, at in tasks]


async def play_seeking(ground: Ground, seed: int, played: Sequence[Played], *, of: int) -> Played:
    """Play this world, one of so many: workers die above all where none has died in those that were played."""
    known = frozenset(death for world in played for death in world.died)
    # Others are played at the same time, and should not all have the same deaths; in the end nothing may be left.
    eagerness = EAGERNESS if len(played) < of / 2 else 1.0
    with quiet(), mortality():
        return await play(ground, seed, known=known, eagerness=eagerness)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: every death and every broken answer would be a line."""
    uvicorn, loop, ours = (
        logging.getLogger("uvicorn.error"),
        logging.getLogger("asyncio"),
        structlog.get_config(),
    )
    before = uvicorn.disabled, loop.level
    uvicorn.disabled = True
    loop.setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        uvicorn.disabled = before[0]
        loop.setLevel(before[1])
        structlog.configure(**ours)


class Tally:
    """What one run of the tests has played, in files of a directory that its processes share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def add(self, played: Played) -> int:
        """Add a world; returns how many there are now. Each call returns another number."""
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self._directory / f"{played.seed}.json").write_text(json.dumps(_as_json(played)))
            return len(list(self._directory.glob("*.json")))

    def played(self) -> list[Played]:
        """Everything that was added until now."""
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            texts = [file.read_text() for file in sorted(self._directory.glob("*.json"))]
        return [_from_json(json.loads(text)) for text in texts]


def _as_json(played: Played) -> dict[str, Any]:
    return {field.name: getattr(played, field.name) for field in fields(played)}


def _from_json(saved: dict[str, Any]) -> Played:
    return Played(
        **saved
        | {name: Counter(saved[name]) for name in ("passed", "deadlocks")}
        | {
            name: kind(tuple(death) for death in saved[name])
            for name, kind in (("died", list), ("at", tuple))
        }
    )


def never_died_at(played: list[Played]) -> set[Death]:
    """The sides of commit points that workers of many worlds passed without a death."""
    died = {death for world in played for death in world.died}
    passed = Counter(point for world in played for point, times in world.passed.items() if times)
    often = [point for point, worlds in passed.items() if worlds >= max(OFTEN * len(played), OFTEN_MIN)]
    return {(point, side) for point in often for side in (BEFORE, AFTER)} - died


def place_of(played: list[Played], death: Death, attempt: int) -> int:
    """A seed whose workers have passed this point; another one with each attempt, those that passed it often first."""
    passed: Counter[int] = Counter()
    for world in played:
        passed[world.seed] = max(passed[world.seed], world.passed[death[0]])
    seeds = [seed for seed, times in passed.most_common() if times]
    return seeds[attempt % len(seeds)]


def report(played: list[Played]) -> str:
    """The seeds whose records differ from the truth, with the differences."""
    return "\n".join(
        f"{again(each)}  {each.facts['left']} left, {each.died}\n  " + "\n  ".join(each.differences[:10])
        for each in played
        if each.differences
    )


def again(played: Played) -> str:
    """The command that plays this world again."""
    at = f" AT={','.join(map(':'.join, played.at))}" if played.at else ""
    return f"make simulate SEED={played.seed}{at}"
