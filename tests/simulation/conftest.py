"""The ground of the simulation, which all its tests of one process share: fresh sessions cost more than a world."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Services, database_copy
from tests.simulation.world import Ground, open_ground


@pytest.fixture(scope="session")
async def ground(servers: Services, template: str) -> AsyncIterator[Ground]:
    """What worlds are played on, one after the other. Each begins by emptying it."""
    async with database_copy(servers, template, "simulation") as url, open_ground(url) as ground:
        yield ground
