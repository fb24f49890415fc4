"""Replay one seed: python -m tests.simulation SEED [COUNT] [POINT:SIDE]."""

import sys
import time

import uvloop

from db.migrate import migrate
from local.clean import throwaway_home
from local.postgres import start_postgres
from tests.simulation.deaths import Death, mortality
from tests.simulation.shares import quiet
from tests.simulation.world import open_ground, play


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _replay(database_url: str, seeds: range, at: tuple[Death, ...]) -> int:
    failed = 0
    with quiet(), mortality():
        async with open_ground(database_url) as ground:
            for seed in seeds:
                began = time.monotonic()
                played = await play(ground, seed, at=at, say=_say if len(seeds) == 1 else lambda _: None)
                failed += bool(played.differences)
                verdict = "differs" if played.differences else "equal"
                _say(
                    f"seed {seed}: {verdict} after {time.monotonic() - began:.2f} s {played.facts} {played.died}",
                )
                for line in played.differences:
                    _say(f"  {line}")
    return failed


def main() -> None:
    """Play the seed that is named, and as many after it as are asked for; AT says where a worker dies in addition."""
    first, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    named = sys.argv[3].split(",") if len(sys.argv) > 3 else []
    at = tuple((point, side) for each in named for point, _, side in [each.partition(":")])
    with throwaway_home() as home, start_postgres(home, durable=False) as postgres:
        migrate(postgres.url)
        failed = uvloop.run(_replay(postgres.url, range(first, first + count), at))
    sys.exit(1 if failed else 0)


main()
