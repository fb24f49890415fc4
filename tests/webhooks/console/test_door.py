"""The door of the console: who gets in, how long for, and what an outsider can do."""

import io
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from starlette.routing import Route

from runtime import tally
from tests.system import ADMIN_TOKEN
from tests.webhooks.console.browser import Browser, browser_at
from tests.webhooks.web_harness import served, settings
from webhooks.app import create_app
from webhooks.console.session import FAILURES_MAX, FAILURES_SECONDS, SESSION_COOKIE, SESSION_SECONDS, Sessions

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = settings()
"""Neither Postgres nor Redis is there: the door needs neither."""
INSIDE = sorted(
    {
        route.path.replace("{rest:id}", "nowhere").replace(":id}", "}").replace("{", "").replace("}", "")
        for route in create_app(SETTINGS).routes
        if isinstance(route, Route) and (route.path + "/").startswith(("//", "/console/"))
    }
    - {"/console/static/name", "/console/login", "/console"}
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    async with served(create_app(SETTINGS), connections=1000) as port:
        yield port


@pytest_asyncio.fixture(loop_scope="module")
async def browser(port: int) -> AsyncIterator[Browser]:
    async with browser_at(port) as browser:
        yield browser


async def test_there_are_pages_to_guard() -> None:
    """The list is not empty by mistake."""
    assert {"/", "/console/customers", "/console/customers/uid", "/console/logout"} <= set(INSIDE)


@pytest.mark.parametrize("path", INSIDE)
async def test_everything_is_closed_without_a_session(browser: Browser, path: str) -> None:
    """Without a cookie a page leads to the door and back, and nothing can be done."""
    seen, done = await browser.ask("GET", path), await browser.ask("POST", path, form={"csrf": ""})
    assert 303 == seen.status
    assert seen.headers["Location"].startswith("/console/login")
    assert "" == seen.html
    assert (404 if path == "/" else 403) == done.status


async def test_right_token(browser: Browser) -> None:
    """The cookie is out of reach of scripts and other sites, and gets its owner in until he leaves."""
    answer = await browser.log_in(next="/console/customers?status=active")
    assert (303, "/console/customers?status=active") == (answer.status, answer.headers["Location"])
    cookie = answer.cookies[SESSION_COOKIE]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    page = await browser.see("/console/nowhere", status=404)
    assert {"Overview", "Customers"} <= page.links.keys()
    assert (303, "/") == (
        (away := await browser.ask("GET", "/console/login")).status,
        away.headers["Location"],
    )
    assert 303 == (await browser.post("/console/logout")).status
    assert (await browser.ask("GET", "/console/customers")).headers["Location"].startswith("/console/login")


async def test_cookie_over_https(browser: Browser) -> None:
    """Where the proxy says that the browser came by https, the cookie never goes another way."""
    answer = await browser.ask(
        "POST", "/console/login", form={"token": ADMIN_TOKEN}, headers={"X-Forwarded-Proto": "https"}
    )
    assert "Secure" in answer.cookies[SESSION_COOKIE].split("; ")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "mistaken",
        ADMIN_TOKEN[:-1],
        ADMIN_TOKEN + "x",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
async def test_wrong_token(token: str) -> None:
    """There is no cookie for it, and the page and the log do not repeat it."""
    async with served(create_app(SETTINGS), connections=10) as port, browser_at(port) as browser:
        answer = await browser.log_in(token)
    assert (401, {}) == (answer.status, answer.cookies)
    assert "That is not ADMIN_TOKEN" in answer.page.text
    assert len(token) < 3 or token not in answer.html


async def test_many_wrong_tokens(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some the address has to wait: even the right one is not looked at. However many come in ten seconds, they
    are one line of the log.
    """
    monkeypatch.setattr(tally, "REPORT_SECONDS", 600.0)  # however slow this machine is
    async with served(create_app(SETTINGS), connections=10) as port, browser_at(port) as browser:
        wrong = [(await browser.log_in("wrong")).status for _ in range(FAILURES_MAX)]
        right = await browser.log_in()
        for _ in range(30):
            await browser.log_in("wrong")
    assert {401} == set(wrong)
    assert (429, {}) == (right.status, right.cookies)
    assert 1 == log.getvalue().count("console logins refused")


async def test_a_login_that_is_broken_off() -> None:
    """It is no error of ours: whoever has no token could fill the log with tracebacks."""
    scope = {"type": "http", "method": "POST", "path": "/console/login", "query_string": b"", "headers": []}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await create_app(SETTINGS)(scope, receive, send)
    assert 400 == sent[0]["status"]


async def test_who_has_to_wait() -> None:
    """Only the network that the wrong tokens came from, and only for some minutes."""
    now = 1_000.0
    sessions = Sessions("right", clock=lambda: now)
    for number in range(FAILURES_MAX):
        assert sessions.may_try("2001:db8::1")
        assert sessions.begin("wrong", f"2001:db8::{number}") is None
    assert not sessions.may_try("2001:db8::ffff")
    assert sessions.may_try("2001:db8:0:1::1")
    assert sessions.may_try("192.0.2.1")
    now += FAILURES_SECONDS
    assert sessions.may_try("2001:db8::1")


async def test_sessions_end() -> None:
    """A cookie is good until it expires, and only for the token that it was made with."""
    now = 1_000.0
    sessions = Sessions("right", clock=lambda: now)
    cookie = sessions.begin("right", "192.0.2.1")
    assert cookie is not None
    session = sessions.read(cookie)
    assert session is not None
    assert session.csrf not in cookie
    assert session == Sessions("right", clock=lambda: now).read(cookie)  # of another web process
    assert Sessions("another", clock=lambda: now).read(cookie) is None
    assert Sessions(None, clock=lambda: now).read(cookie) is None
    now += SESSION_SECONDS - 1
    assert sessions.read(cookie) == session
    now += 1
    assert sessions.read(cookie) is None


@pytest.mark.parametrize("forged", ["", "x", "e30.x", "a.b.c", "é"])
async def test_forged_cookies(forged: str) -> None:
    """Nothing gets in that we have not signed; a notice is no session."""
    sessions = Sessions("right")
    cookie = sessions.begin("right", "192.0.2.1") or ""
    content, _, signature = cookie.rpartition(".")
    assert sessions.read(forged) is None
    assert sessions.read(content + "." + signature[::-1]) is None
    assert sessions.opened_notice(cookie) is None


async def test_forms_need_the_token_of_their_session(browser: Browser) -> None:
    """A form without it, or with that of another session, does nothing; nor does one that another site has shown."""
    await browser.enter()
    token = browser.csrf
    assert token
    for form in ({}, {"csrf": ""}, {"csrf": token[:-1]}, {"csrf": token + "x"}):
        answer = await browser.ask("POST", "/console/logout", form=form)
        assert 403 == answer.status
        assert "not one of this session" in answer.page.text
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        assert (
            403
            == (await browser.ask("POST", "/console/logout", form={"csrf": token}, headers=headers)).status
        )
        form = {"token": ADMIN_TOKEN}
        assert 403 == (await browser.ask("POST", "/console/login", form=form, headers=headers)).status
    assert 413 == (await browser.post("/console/logout", much="x" * 70_000)).status
    assert 422 == (await browser.post("/console/logout", odd="\0")).status
    assert 404 == (await browser.ask("GET", "/console/nowhere")).status  # still inside


async def test_methods_that_no_page_takes(browser: Browser) -> None:
    """Whoever is inside is told what a page takes."""
    await browser.enter()
    for method, path, allowed in (("PUT", "/console/customers", "GET"), ("GET", "/console/logout", "POST")):
        answer = await browser.ask(method, path)
        assert (405, allowed) == (answer.status, answer.headers["Allow"])


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console/..\\x",
        "javascript:alert(1)",
        "/docs",
        "/console/\r\nx",
    ],
)
async def test_the_door_leads_nowhere_else(browser: Browser, there: str) -> None:
    """After the login only pages of the console are shown."""
    assert "/" == (await browser.log_in(next=there)).headers["Location"]


async def test_every_answer_has_the_headers(browser: Browser) -> None:
    """Pages, redirects, refusals and files: nothing of others is loaded, framed or guessed, and no page is kept."""
    await browser.enter()
    for path in (
        "/",
        "/console",
        "/console/login",
        "/console/nowhere",
        "/console/static/console.css",
        "/console/static/x",
    ):
        answer = await browser.ask("GET", path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert ("DENY", "nosniff", "no-referrer") == tuple(
            answer.headers[name] for name in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy")
        )
        assert ("immutable" if path.endswith(".css") else "no-store") in answer.headers["Cache-Control"]


async def test_without_a_token_the_console_is_closed() -> None:
    """Every page says what to set."""
    app = create_app(replace(SETTINGS, admin_token=None))
    async with served(app, connections=10) as port, browser_at(port) as browser:
        for path in ("/", "/console/login", "/console/customers"):
            answer = await browser.ask("GET", path)
            assert 403 == answer.status
            assert "set ADMIN_TOKEN" in answer.page.text
        assert 403 == (await browser.log_in("")).status


async def test_root_for_others(browser: Browser) -> None:
    """Webhooks that are posted to the root are told where they belong, and a token in a URL is not repeated."""
    posted = await browser.ask("POST", "/", form={"id": "evt_1"})
    assert (404, '{"error":"nothing is here: Stripe posts to /webhooks/stripe"}') == (
        posted.status,
        posted.html,
    )
    assert "/console/login" == (await browser.ask("GET", "/?token=secret")).headers["Location"]


async def test_postgres_away(browser: Browser) -> None:
    """The page says so, in the frame of the console."""
    await browser.enter()
    page = await browser.see("/", status=503)
    assert "Postgres is away." in page.text
    assert "Customers" in page.links
