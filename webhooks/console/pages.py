"""A page of the console: what it gets, and how it answers."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from webhooks.admin import Admin
from webhooks.answers import Refusal
from webhooks.api.operation import Context
from webhooks.console.figures import Figures
from webhooks.console.session import NOTICE_COOKIE, NOTICE_SECONDS, Notice, Session, Sessions
from webhooks.console.words import FILTERS

HERE = Path(__file__).parent
MENU = (
    ("/", "Overview"),
    ("/console/customers", "Customers"),
    ("/console/events", "Events"),
    ("/console/backfills", "Backfills"),
    ("/console/audits", "Audits"),
    ("/console/alarms", "Alarms"),
)
"""What every page leads to, in this order."""
FIELDS_MAX = 500
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC: Mapping[str, bytes] = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}
"""The style sheet, and the script that keeps a page fresh."""
_MARKS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC.items()}


def address_of(name: str) -> str:
    """Where a static file is; another content has another address."""
    return f"/console/static/{name}?v={_MARKS[name]}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(FILTERS)
_TEMPLATES.globals.update(address_of=address_of, menu=MENU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the console works with."""

    admin: Admin
    """The settings' mode, the bell, complaints and connections, as the other routes of operators have them."""
    context: Context
    """That of the customers API: `readers` is the database for pages."""
    sessions: Sessions
    figures: Figures


class Form:
    """The fields of a form that was sent: its token was checked."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def get(self, name: str) -> str:
        """The field without blanks around it; '' if it was not sent."""
        return self._fields.get(name, ("",))[-1].strip()

    def all(self, name: str) -> list[str]:
        """Every value of the field: of check boxes with one name."""
        return list(self._fields.get(name, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of somebody who is logged in."""

    desk: Desk
    request: Request
    session: Session
    form: Form = field(default_factory=lambda: Form({}))

    def asked(self, name: str) -> str:
        """A parameter of the query without blanks around it; '' if it was left out. Raises Refusal."""
        return _storable(self.request.query_params.get(name, "").strip())

    def page(self, template: str, *, status: int = 200, **values: object) -> Response:
        """The template with these values; every text among them is escaped.

        A template extends `base.html`; `title` is a value that it must be given.
        """
        notice = self.desk.sessions.opened_notice(self.request.cookies.get(NOTICE_COOKIE))
        answer = rendered(
            template,
            status=status,
            session=self.session,
            path=self.request.url.path,
            notice=notice,
            **values,
        )
        if NOTICE_COOKIE in self.request.cookies:
            answer.delete_cookie(NOTICE_COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    def redirect(self, path: str, *, notice: str = "", tone: str = "good") -> Response:
        """After a form: show this page, and the notice on it once. `tone`: good or bad."""
        answer = RedirectResponse(path, status_code=303)
        if notice:
            answer.set_cookie(
                NOTICE_COOKIE,
                self.desk.sessions.sealed_notice(Notice(text=notice[:1000], tone=tone)),
                max_age=NOTICE_SECONDS,
                path="/",
                secure=self.request.url.scheme == "https",
                httponly=True,
                samesite="strict",
            )
        return answer


Handle = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One path of the console, and what it answers to people who are logged in."""

    path: str
    """Names in braces, `{name:id}`, are any text (webhooks/ids.py)."""
    get: Handle | None = None
    post: Handle | None = None
    """For a form of the console: its token has been checked, and its fields are `visit.form`."""


def rendered(template: str, *, status: int = 200, **values: object) -> Response:
    """A page also for those who are not logged in; then `session` is None."""
    known = {"session": None, "path": "", "notice": None, "refresh_seconds": None, **values}
    return HTMLResponse(_TEMPLATES.get_template(template).render(known), status_code=status)


def fields_of(body: bytes) -> dict[str, list[str]]:
    """The fields of a form's body. Raises Refusal."""
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Refusal(400, "this is no form of the console") from None
    return {name: [_storable(value) for value in values] for name, values in fields.items()}


def _storable(text: str) -> str:
    if "\0" in text:
        raise Refusal(422, "a text has the character U+0000, which Postgres cannot store")
    return text
