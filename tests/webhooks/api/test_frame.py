"""What holds for every operation: who may ask, what is refused and how, and the document that is made of them."""

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.system import ADMIN_TOKEN
from tests.webhooks.api.client import READ_TOKEN, Service, open_service
from tests.webhooks.web_harness import client_of, served, settings
from webhooks.api.api import OPERATIONS
from webhooks.api.operation import NoBody
from webhooks.api.problems import EVERY_KIND
from webhooks.app import create_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY = [pytest.param(each, id=each.name) for each in OPERATIONS]


def path_of(operation: Any) -> str:
    return re.sub(r"\{\w+\}", "somebody", operation.path)


@pytest.mark.parametrize("operation", EVERY)
async def test_who_may_ask(service: Service, operation: Any) -> None:
    """No token, a wrong one, one that may only read; before anything of the request is looked at."""
    method, path = operation.method, path_of(operation)
    for token in ("", "wrong", f"{ADMIN_TOKEN}x"):
        refused = await service.ask(method, f"{path}?nonsense=1", token=token)
        assert (401, "Bearer") == (refused.status, refused.headers["WWW-Authenticate"])
        assert "ADMIN_TOKEN" in refused.problem("no_token")
    readers = await service.ask(method, f"{path}?nonsense=1", token=READ_TOKEN)
    assert (422 if operation.reads else 403) == readers.status
    assert readers.problem("invalid" if operation.reads else "not_allowed")


@pytest.mark.parametrize("operation", EVERY)
async def test_what_does_not_fit(service: Service, operation: Any) -> None:
    """An unknown parameter or field, a body that is none: the field and the remedy are named."""
    method, path = operation.method, path_of(operation)
    for query, named in (
        ("nonsense=1", "query.nonsense"),
        ("mode=test&mode=test", "query.mode"),
        ("account=%00", "query"),
        ("account=acct_1%0A", "query.account"),
    ):
        refused = await service.ask(method, f"{path}?{query}")
        assert 422 == refused.status
        assert named in refused.problem("invalid")
    if operation.body is NoBody:
        return
    for data, status, name in (
        (b"{", 400, "unreadable"),
        (b"\xff", 400, "unreadable"),
        (b"[]", 422, "invalid"),
        (b'{"nonsense": 1}', 422, "invalid"),
        (b'{"name": "\\u0000"}', 422, "invalid"),
        (b" " * 70_000, 413, "too_large"),
    ):
        refused = await service.ask(method, path, data=data)
        assert (status, True) == (refused.status, bool(refused.problem(name))), data[:30]


async def test_bodies_nested_too_deep(service: Service) -> None:
    """However deep it is nested, a body is refused as what it is: some depths are decoded, and no further."""
    for deep in [*range(850, 1000), 5000]:
        for data in (b"[" * deep + b"1" + b"]" * deep, b'{"name":' * deep + b'"x"' + b"}" * deep):
            refused = await service.put("/customers/nested", data=data)
            assert refused.status in (400, 422), (deep, refused.body)


async def test_methods_that_are_not_answered(service: Service) -> None:
    """405 with those that are."""
    for operation in OPERATIONS:
        refused = await service.ask("OPTIONS", path_of(operation))
        assert 405 == refused.status
        assert operation.method in refused.headers["Allow"]
        assert refused.problem("wrong_method")


async def test_names_that_are_none(service: Service) -> None:
    """422 with the reason, as the other routes refuse them."""
    for written, reason in (
        ("%2e%2e", "is '..'"),
        ("a%2Fb", "has '/'"),
        ("a%00", "cannot be shown"),
        ("a%25", "has '%'"),
    ):
        refused = await service.get(f"/customers/{written}")
        assert 422 == refused.status
        assert reason in refused.problem("invalid")


async def test_document(service: Service) -> None:
    """/openapi.json is open, and its examples are what it says: they fit the types that requests are checked with."""
    document = (await service.get("/openapi.json", token="")).body
    assert "3.1.0" == document["openapi"]
    paths = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {(each.method, each.path) for each in OPERATIONS} == paths
    defined = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(re.findall(r'"\$ref":"([^"]+)"', msgspec.json.encode(document).decode())) <= defined
    assert "\\Z" not in msgspec.json.encode(document).decode()  # only Python has this end
    assert "Where" not in document["components"]["schemas"]
    for each in OPERATIONS:
        if each.body is not NoBody:
            assert each.body_example, each.name
            msgspec.convert(each.body_example, each.body)
        for status, answer in each.answers.items():
            if answer.type is not None:
                assert answer.example is not None, (each.name, status)
                msgspec.convert(msgspec.to_builtins(answer.example), answer.type)
        said = document["paths"][each.path][each.method.lower()]
        for parameter in said["parameters"]:
            assert parameter["description"], (each.name, parameter["name"])


async def test_page(service: Service) -> None:
    """/docs shows every operation and every kind of problem, and loads nothing."""
    page = (await service.get("/docs", token="")).body
    for each in OPERATIONS:
        assert f'id="{each.name}"' in page
    for kind in EVERY_KIND:
        assert f'id="{kind.name}"' in page
    assert not re.search(r'(?:src|href)="(?!#|/openapi\.json")', page)
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert set() == targets - set(re.findall(r'id="([^"]+)"', page))


async def test_without_tokens_and_without_postgres() -> None:
    """Off without a token; 503 with a remedy while Postgres is away."""
    for given, status in ((None, 403), (ADMIN_TOKEN, 503)):
        app = create_app(replace(settings(admin_token=given), stripe_api_key="sk_test_x"))
        async with (
            served(app, connections=10) as port,
            client_of(port) as door,
            door._session.get(
                f"http://127.0.0.1:{port}/customers/cus_1", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
            ) as answer,
        ):
            assert (status, "application/problem+json") == (answer.status, answer.headers["Content-Type"])


async def test_mode_without_a_key(database_url: str) -> None:
    """Without an API key the request says which mode it is about."""
    async with open_service(database_url, api_key=None, working=False) as service:
        unsaid = await service.get("/customers/cus_1")
        assert 422 == unsaid.status
        assert "query.mode" in unsaid.problem("invalid")
        assert 404 == (await service.get("/customers/cus_1?mode=live")).status
        refused = await service.get("/customers/cus_1?mode=live&fresh=true")
        assert 409 == refused.status
        assert "STRIPE_API_KEY" in refused.problem("no_api_key")
