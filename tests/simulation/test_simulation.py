"""The promise of the design, played out: whatever the delivery does, wherever a worker dies, the records end right."""

import os

import pytest

from tests.simulation.shares import (
    WITH_DEATHS,
    Tally,
    never_died_at,
    place_of,
    play_seeking,
    play_tasks,
    report,
)
from tests.simulation.world import Ground, Played

WORLDS = int(os.environ.get("WORLDS", "24"))
WORLDS_OF_A_SHARE = 2
"""How many worlds one test plays: some seconds' work, so that the shares spread over all processes of the tests."""
SHARES = [
    range(first, min(first + WORLDS_OF_A_SHARE, WORLDS)) for first in range(0, WORLDS, WORLDS_OF_A_SHARE)
]
ASKED_AGAIN_MAX = 12
"""In how many further worlds a death is tried that no world brought about."""


@pytest.fixture
def tally(tmp_path_factory: pytest.TempPathFactory) -> Tally:
    """What this run of the tests has played, in all its processes."""
    base = tmp_path_factory.getbasetemp()
    return Tally((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "simulation")


@pytest.mark.parametrize("seeds", SHARES, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
async def test_records_equal_the_truth_whatever_happens(ground: Ground, tally: Tally, seeds: range) -> None:
    """I2, I3, I4, I8, I10: in every world every record ends equal to the truth in every field, and exact; none has
    ever said that it is exact while it was not; and workers have died on both sides of every commit.

    Each world seeks deaths that none before it has had, so that together they have them all. The one that ends last
    answers for what all of them together must have met.
    """
    for seed in seeds:
        world = await play_seeking(ground, seed, tally.played(), of=WORLDS)
        assert not report([world]), report([world])
        facts = world.facts
        assert facts["customers"] >= 20, (world.seed, facts)
        assert facts["events"] >= 300, (world.seed, facts)
        for trouble in ("dropped", "doubled", "at the end", "slow", "429 rate", "429 lock", "500", "reset"):
            assert facts.get(trouble), (world.seed, trouble, facts)
        assert facts["deaths"], (world.seed, facts)
        if tally.add(world) == WORLDS:
            await assert_everything_was_met(ground, tally.played())


async def assert_everything_was_met(ground: Ground, played: list[Played]) -> None:
    """All worlds together had the rare answers, and deaths on both sides of every commit."""
    # Whether a read meets an object before its event does is timing-dependent: not every world has it.
    for rare in (
        "404",
        "stale",
        "pages",
        "not derived",
        "exact at rest",
        "strangers",
        "revoked",
        "lost events",
        "joined",
    ):
        assert sum(world.facts.get(rare, 0) for world in played) >= WORLDS // 4, rare
    missing = never_died_at(played)
    for attempt in range(ASKED_AGAIN_MAX):
        if not missing:
            break
        deaths = sorted(missing)
        tasks = [
            (place_of(played, deaths[first], attempt), tuple(deaths[first : first + WITH_DEATHS]))
            for first in range(0, len(deaths), WITH_DEATHS)
        ]
        further = await play_tasks(ground, tasks)
        assert not report(further), report(further)
        played += further
        missing = never_died_at(played)
    assert not missing, f"nobody died {missing}"
