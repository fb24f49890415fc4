"""What an audit can say of test clocks that Stripe does not list."""

from typing import Any

import pytest

from db.connection import Pool
from sandbox import Sandbox
from sandbox.api import RefusedError
from tests.worker.account import attached


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/test_helpers/test_clocks", 403),
        ("/v1/test_helpers/test_clocks", 404),
        ("/v1/customers", 400),
    ],
)
async def test_clocks_that_are_not_told(pool: Pool, database_url: str, path: str, status: int) -> None:
    """I11: who may be on a test clock and cannot be asked for is undecided; so are the objects of a clock that Stripe
    lists, and whose customers it does not.
    """
    world = Sandbox(seed=31)
    world.play(["on_a_test_clock"] * 2)
    world.run()
    async with attached(pool, database_url, world) as account:
        await account.fill()
        answer = account.api._answer

        def refusing(scope: Any, *rest: Any) -> bytes:
            of_clock = b"test_clock=" in scope["query_string"]
            if scope["path"] == path and (of_clock or path.endswith("clocks")):
                raise RefusedError(status, "not these")
            return answer(scope, *rest)

        account.api._answer = refusing  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request(purpose="audit"))
        assert "partial" == ended["status"]
        assert "objects could not be read; test_clock " in ended["error"]
