"""Somebody who is logged in at the console: asks for pages, and sends their forms."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from runtime.settings import Settings
from tests.webhooks.console.browser import Browser, Shown, browser_at
from tests.webhooks.web_harness import open_door, settings

API_KEY = "sk_test_console"
Fields = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Operator:
    """A browser of somebody who knows the admin token."""

    browser: Browser

    async def get(self, path: str) -> Shown:
        """A page; no redirect is followed."""
        return await self.browser.ask("GET", path)

    async def send(self, path: str, fields: Fields, *, csrf: str | None = None) -> Shown:
        """A form with the token of the page seen last, or with another one; '': with none."""
        token = self.browser.csrf if csrf is None else csrf
        return await self.browser.ask("POST", path, form={**({"csrf": token} if token else {}), **fields})

    async def done(self, path: str, fields: Fields) -> Shown:
        """A form that must be answered by a redirect; the page that it leads to."""
        answer = await self.send(path, fields)
        assert 303 == answer.status, answer.page.text
        return await self.get(answer.headers["Location"])


def leads(shown: Shown, beginning: str) -> list[str]:
    """Where the links of the page lead that begin so, in their order."""
    found = [str(given.get("href")) for tag, given in shown.page.elements if tag == "a"]
    return [link for link in found if link.startswith(beginning)]


def console_settings(database_url: str, redis_url: str) -> Settings:
    """Of a web process that may read Stripe in test mode."""
    return replace(settings(database_url=database_url, redis_url=redis_url), stripe_api_key=API_KEY)


@asynccontextmanager
async def operator_of(asked_for: Settings) -> AsyncIterator[Operator]:
    """Somebody who is logged in at the application of these settings."""
    async with open_door(asked_for) as door, browser_at(door.port) as browser:
        await browser.enter()
        yield Operator(browser)
