"""One database, one engine and one server for all tests of a module: each uses customers of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Services, database_copy
from tests.webhooks.api.client import Service, open_service
from webhooks.api import seen, shown


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    request: pytest.FixtureRequest, servers: Services, template: str, worker_id: str
) -> AsyncIterator[Service]:
    """The API of an installation with an API key, its worker at work."""
    name = f"{request.module.__name__.replace('.', '_')}_{worker_id}"[-60:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown, "DERIVED_SECONDS", 120.0)  # however slow this machine is
        patch.setattr(seen, "PAUSE_SECONDS", 0.05)
        async with database_copy(servers, template, name) as url, open_service(url) as service:
            yield service
