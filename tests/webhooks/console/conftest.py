"""One database, one engine and one server for all tests of a module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Services, database_copy
from tests.webhooks.api.client import Service, open_service
from tests.webhooks.console.world import account
from webhooks.console import customer, figures


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    request: pytest.FixtureRequest, servers: Services, template: str, worker_id: str
) -> AsyncIterator[Service]:
    """An installation with an API key, its worker at work, and the customers of world.py."""
    name = f"{request.module.__name__.replace('.', '_')}_{worker_id}"[-60:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "PATIENCE_SECONDS", 120.0)  # however slow this machine is
        patch.setattr(figures, "PAUSE_SECONDS", 0.0)
        patch.setattr(figures, "SHARE", 1e9)
        patch.setattr(customer, "REFRESH_SECONDS", 120.0)
        async with (
            database_copy(servers, template, name) as url,
            open_service(url, api=account()) as service,
        ):
            yield service
