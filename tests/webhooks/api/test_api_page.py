"""docs/api.md: each of its curl lines is run, in order, against one server."""

import asyncio
import re
from typing import Any

import pytest

from sandbox import Api
from sandbox.objects import Price
from tests.harness import customer, event
from tests.places import ROOT
from tests.system import ADMIN_TOKEN
from tests.webhooks.api.client import Service
from webhooks.api.api import OPERATIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = (ROOT / "docs/api.md").read_text()


async def test_every_line_works(service: Service) -> None:
    """Each ends well (curl --fail), and leaves what the next one needs."""
    known, new = customer("cus_QuietLake01", metadata={"custom_uid": "ada"}), customer("cus_NoisyRiver02")
    service.harness.api.put(known, new)
    stripe = service.harness.api.inner
    assert isinstance(stripe, Api)
    account = stripe.sandbox.home
    account.clients.create(None, None, customer_id="cus_QuietLake01")
    account.add(
        Price(
            id="price_Monthly01",
            created=account.now,
            product=account.catalogue.product("Pro").id,
            currency="usd",
            unit_amount=2000,
            interval="month",
        )
    )
    await service.harness.receive(event("customer.created", known))
    await service.record_of("cus_QuietLake01")
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", block),
            env={
                "SUBLEDGER": f"http://127.0.0.1:{service.port}",
                "TOKEN": ADMIN_TOKEN,
                "PATH": "/usr/bin:/bin",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, error = await process.communicate()
        assert 0 == process.returncode, f"{block}\n{error.decode()}\n{said.decode()}"


@pytest.mark.parametrize("operation", [pytest.param(each, id=each.name) for each in OPERATIONS])
async def test_every_route_has_a_line(operation: Any) -> None:
    """The page has a curl line of every route."""
    names = re.split(r"\{\w+\}", operation.path)
    path = r"[^/?\s\"]+".join(re.escape(each) for each in names)
    method = "" if operation.method == "GET" else f"-X {operation.method} .*"
    lines = PAGE.replace("\\\n", "").splitlines()
    assert [line for line in lines if re.match(rf'curl .*{method}"\$SUBLEDGER{path}["?]', line)]
