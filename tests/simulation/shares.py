"""Many worlds, played by several processes, each on a database of its own."""

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import structlog
import uvloop

from tests.simulation.deaths import Death, mortality
from tests.simulation.world import Played, open_ground, play

Task = tuple[int, Death | None]
"""A seed, and where a worker is to die beside where the seed says."""


def play_share(database_url: str, tasks: Sequence[Task]) -> list[Played]:
    """Play these worlds one after the other; what a process of its own runs."""
    be_quiet()
    return uvloop.run(_play_all(database_url, tasks))


async def _play_all(database_url: str, tasks: Sequence[Task]) -> list[Played]:
    with mortality():
        async with open_ground(database_url) as ground:
            return [await play(ground, seed, at=at) for seed, at in tasks]


def play_in_processes(database_urls: Sequence[str], tasks: Sequence[Task]) -> list[Played]:
    """Deal the worlds out to as many processes as there are databases."""
    shares = [tasks[start :: len(database_urls)] for start in range(len(database_urls))]
    with ProcessPoolExecutor(len(database_urls), mp_context=get_context("spawn")) as processes:
        return [played for share in processes.map(play_share, database_urls, shares) for played in share]


def be_quiet() -> None:
    """A world is noisy: every death and every broken answer would be a line of the log."""
    logging.getLogger("uvicorn.error").disabled = True
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
