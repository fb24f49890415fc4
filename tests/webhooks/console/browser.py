"""A browser without JavaScript: it keeps cookies, reads pages strictly, and fills in forms."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp
import yarl

from tests.system import ADMIN_TOKEN
from tests.webhooks.web_harness import NEVER_SHOWN

_VOID = {"meta", "link", "input", "br", "hr", "img", "circle", "line", "path", "rect"}
_HIDDEN = {"script", "style", "head"}


class Document(HTMLParser):
    """A page: its texts, links, forms and fields. Fails if an element is not closed, or an id is there twice."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.links: dict[str, str] = {}
        """The text of each link -> where it leads."""
        self.forms: dict[str, dict[str, str]] = {}
        """The address of each form -> its hidden fields."""
        self.fields: dict[str, str] = {}
        """What stands in each element that has data-field."""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._ids: set[str] = set()
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"an attribute twice: {tag} {attrs}"
        assert "style" not in given, "the security policy refuses styles"
        assert not [name for name in given if name.startswith("on")], "the security policy refuses handlers"
        if (name := given.get("id")) is not None:
            assert name not in self._ids, f"the id {name} twice"
            self._ids.add(name)
        self.elements.append((tag, given))
        if tag == "form":
            self.forms[str(given.get("action"))] = {}
        if tag == "input" and given.get("type") == "hidden":
            form = next(attributes for name, attributes in reversed(self._open) if name == "form")
            self.forms[str(form.get("action"))][str(given["name"])] = str(given["value"])
        if tag not in _VOID:
            self._open.append((tag, given))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if not text or {tag for tag, _ in self._open} & _HIDDEN:
            return
        self.texts.append(text)
        for tag, attributes in self._open:
            if tag == "a" and attributes.get("href"):
                self.links[text] = str(attributes["href"])
            if (name := attributes.get("data-field")) is not None:
                self.fields[name] = f"{self.fields.get(name, '')} {text}".strip()

    @property
    def text(self) -> str:
        """Everything that can be read on it."""
        return " ".join(self.texts)

    def with_class(self, name: str) -> int:
        """How many elements have this class."""
        return sum(name in str(given.get("class") or "").split() for _, given in self.elements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    """The Set-Cookie headers, by the names of the cookies."""
    html: str
    page: Document


@dataclass(slots=True)
class Browser:
    """Somebody at the console."""

    session: aiohttp.ClientSession
    port: int
    csrf: str = field(default="")
    """The token of the page seen last."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        """One request; no redirect is followed."""
        async with self.session.request(
            method,
            yarl.URL(f"http://127.0.0.1:{self.port}{path}", encoded=True),
            data=None if form is None else _pairs(form),
            headers=headers,
            allow_redirects=False,
        ) as response:
            html = await response.text()
            shown = f"{response.headers} {html}"
            assert not [secret for secret in NEVER_SHOWN if secret in shown], "an answer shows a secret"
            is_page = response.content_type == "text/html" and bool(html)
            document = Document(html if is_page else "")
            for fields in document.forms.values():
                self.csrf = fields.get("csrf", self.csrf)
            return Shown(
                status=response.status,
                headers=response.headers,
                cookies={each.split("=")[0]: each for each in response.headers.getall("Set-Cookie", [])},
                html=html,
                page=document,
            )

    async def see(self, path: str, *, status: int = 200) -> Document:
        """A page, after any redirects."""
        for _ in range(5):
            shown = await self.ask("GET", path)
            if shown.status != 303:
                assert status == shown.status, shown.page.text
                return shown.page
            path = shown.headers["Location"]
        raise AssertionError(f"redirects without end: {path}")

    async def post(self, path: str, **form: str) -> Shown:
        """A form of the page seen last, with its token."""
        return await self.ask("POST", path, form={"csrf": self.csrf, **form})

    async def log_in(self, token: str = ADMIN_TOKEN, **form: str) -> Shown:
        """Give the token at the door."""
        return await self.ask("POST", "/console/login", form={"token": token, **form})

    async def enter(self) -> None:
        """Log in, and look at a page, whose forms have the session's token."""
        assert 303 == (await self.log_in()).status
        await self.ask("GET", "/console/nowhere")


def _pairs(form: Mapping[str, str | Sequence[str]]) -> list[tuple[str, str]]:
    """The fields as they are sent: check boxes of one name are several."""
    return [
        (name, each)
        for name, value in form.items()
        for each in ([value] if isinstance(value, str) else value)
    ]


@asynccontextmanager
async def browser_at(port: int) -> AsyncIterator[Browser]:
    """A browser with cookies of its own."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(keepalive_timeout=2),
        cookie_jar=aiohttp.CookieJar(unsafe=True),  # of a server without a name
        timeout=aiohttp.ClientTimeout(total=120),
    ) as session:
        yield Browser(session, port)
