"""The console put together: its pages, its door, and the headers of every answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, urlencode

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from runtime.tally import Tally
from webhooks.admin import Admin
from webhooks.answers import Refusal
from webhooks.api.operation import Context
from webhooks.bodies import read_body
from webhooks.console import alarms, customer, customers, events, overview, scans
from webhooks.console.figures import Figures
from webhooks.console.pages import HEADERS, STATIC, Desk, Form, Page, Visit, fields_of, rendered
from webhooks.console.session import (
    FAILURES_SECONDS,
    SESSION_COOKIE,
    SESSION_SECONDS,
    Sessions,
    is_same_token,
)

FORM_BYTES_MAX = 64 * 1024
CSRF_FIELD = "csrf"
HOME, LOGIN = "/", "/console/login"
PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *customers.PAGES,
    *customer.PAGES,
    *events.PAGES,
    *scans.PAGES,
    *alarms.PAGES,
)
"""Every page but the door's, the longest paths first: a name in a path may be any text."""
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}

log = structlog.get_logger()


class Console:
    """All routes of the console."""

    def __init__(self, admin: Admin, context: Context) -> None:
        sessions = Sessions(context.settings.admin_token)
        figures = Figures(context.settings.database_url)
        self._desk = Desk(admin=admin, context=context, sessions=sessions, figures=figures)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """What create_app adds."""
        desk = self._desk
        pages = sorted(PAGES, key=lambda page: -page.path.count("/"))
        return [
            Route("/console/static/{name}", _Answering(_static)),
            Route(LOGIN, _Answering(_Login(desk))),
            Route("/console/logout", _Answering(_Inside(desk, Page(path="", post=_leave)))),
            *(Route(page.path, _Answering(_Inside(desk, page))) for page in pages),
            Route("/console", _Answering(_to_home)),
            Route("/console/{rest:id}", _Answering(_Inside(desk, Page(path="", get=_nothing_here)))),
        ]

    async def close(self) -> None:
        """End what is under way."""
        await self._desk.figures.close()


class _Answering:
    """A bare ASGI application, so that it gets every method. What goes wrong is a page; each answer has HEADERS."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._handle(request)
        except Refusal as refusal:
            answer = _refused(refusal)
        except HTTPException:
            raise  # it is answered as on any wrong path
        except Exception:
            fault = _refused(Refusal(500, "an internal error: the log has the details"))
            await _with_headers(fault)(scope, receive, send)
            raise  # uvicorn logs it with its traceback
        await _with_headers(answer)(scope, receive, send)


def _with_headers(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


_TITLES: Mapping[int, str] = {
    403: "This is not allowed",
    404: "Nothing is here",
    405: "This page does not take that",
    409: "That cannot be done now",
    422: "That cannot be read",
    429: "Too many attempts",
    503: "Not now",
}


def _refused(refusal: Refusal, visit: Visit | None = None) -> Response:
    """What was wrong and what to do, with the menu for those who are logged in."""
    title = _TITLES.get(refusal.status, "That did not work")
    message = refusal.message[:1].upper() + refusal.message[1:]
    if visit is None:
        return rendered("refused.html", status=refusal.status, title=title, message=message)
    return visit.page("refused.html", status=refusal.status, title=title, message=message)


class _Inside:
    """A page for people who are logged in."""

    def __init__(self, desk: Desk, page: Page) -> None:
        self._desk = desk
        self._page = page

    async def __call__(self, request: Request) -> Response:
        reads = request.method in ("GET", "HEAD")
        if self._page.path == HOME and not reads:
            raise HTTPException(404)  # whoever posts webhooks to the root of the site is told so
        _require_open(self._desk)
        session = self._desk.sessions.read(request.cookies.get(SESSION_COOKIE))
        handle = self._page.get if reads else self._page.post if request.method == "POST" else None
        if session is None:
            if reads:
                query = f"?{request.url.query}" if request.url.query else ""
                there = HOME if self._page.get is None else _inside(request.url.path + query)
                query = "" if there == HOME else f"?{urlencode({'next': there})}"
                return RedirectResponse(LOGIN + query, status_code=303)
            raise Refusal(403, "the session has ended: log in again, and repeat what you did")
        visit = Visit(desk=self._desk, request=request, session=session)
        if handle is None:
            methods = {"GET": self._page.get, "POST": self._page.post}
            allowed = ", ".join(name for name, each in methods.items() if each is not None)
            answer = _refused(Refusal(405, f"only {allowed} is answered here"), visit)
            answer.headers["Allow"] = allowed
            return answer
        try:
            if not reads:
                visit = replace(visit, form=await _read_form(request))
                if not is_same_token(visit.form.get(CSRF_FIELD), session.csrf):
                    raise Refusal(
                        403, "the form was not one of this session: go back, reload it, and try again"
                    )
            answer = await handle(visit)
        except Refusal as refusal:
            answer = _refused(refusal, visit)
        if not reads:
            # What was done by hand, and nothing that was typed.
            log.info("console form", page=self._page.path, status=answer.status_code)
        return answer


def _require_open(desk: Desk) -> None:
    if not desk.sessions.are_possible:
        raise Refusal(403, "the console is closed: set ADMIN_TOKEN and restart the web process")


async def _read_form(request: Request) -> Form:
    # Browsers say where a form was shown; programs that are none of them have no cookie to abuse.
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "the form was shown by another site")
    return Form(fields_of(await read_body(request, bytes_max=FORM_BYTES_MAX)))


def _tell_refused(count: int, reasons: Mapping[str, int]) -> None:
    log.warning("console logins refused", count=count, reasons=reasons)


class _Login:
    """The door: ADMIN_TOKEN for a cookie."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tally = Tally(_tell_refused)

    async def __call__(self, request: Request) -> Response:
        _require_open(self._desk)
        if request.method == "POST":
            return await self._enter(request)
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "only GET and POST are answered here")
        there = _inside(request.query_params.get("next", ""))
        if self._desk.sessions.read(request.cookies.get(SESSION_COOKIE)) is not None:
            return RedirectResponse(there, status_code=303)
        return _door(there)

    async def _enter(self, request: Request) -> Response:
        form = await _read_form(request)
        there = _inside(form.get("next"))
        address = request.client.host if request.client else ""
        sessions = self._desk.sessions
        if not sessions.may_try(address):
            self._tally.count("too many wrong tokens")
            wait = _door(there, status=429, wrong="Too many wrong tokens came from here: wait five minutes.")
            wait.headers["Retry-After"] = f"{FAILURES_SECONDS:.0f}"
            return wait
        cookie = sessions.begin(form.get("token"), address)
        if cookie is None:
            self._tally.count("wrong token")
            return _door(there, status=401, wrong="That is not ADMIN_TOKEN of this web process.")
        log.info("console login")
        answer = RedirectResponse(there, status_code=303)
        answer.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=SESSION_SECONDS,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


def _door(there: str, *, status: int = 200, wrong: str = "") -> Response:
    return rendered("login.html", status=status, title="Log in", next=there, wrong=wrong)


def _inside(path: str) -> str:
    """The path, if it is one of the console's own; else the overview: a link must not lead out of here."""
    if path.startswith("/console/") and "\\" not in path and path.isprintable():
        return quote(path, safe="/?=&%+:,-._~@")
    return HOME


async def _leave(_: Visit) -> Response:
    """Log out."""
    answer = RedirectResponse(LOGIN, status_code=303)
    answer.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def _nothing_here(_: Visit) -> Response:
    raise Refusal(404, "the console has no such page")


async def _to_home(_: Request) -> Response:
    return RedirectResponse(HOME, status_code=303)


async def _static(request: Request) -> Response:
    """A file that every page needs, also the one to log in; it holds nothing of anybody."""
    name = request.path_params["name"]
    content = STATIC.get(name)
    if content is None or request.method not in ("GET", "HEAD"):
        raise Refusal(404, "the console has no such file")
    return Response(
        content,
        media_type=_TYPES[name.rpartition(".")[2]],
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
