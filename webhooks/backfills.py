"""POST, GET and DELETE /backfills: request that an account is read from its beginning, and see how far that is."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.sync.scan_reports import report_scan
from db.sync.scans import cancel_scan, select_scan, select_scans
from runtime.scan_requests import WrongField, ask_for_scan, read_request
from webhooks.admin import Admin
from webhooks.answers import Refusal, json_answer
from webhooks.bodies import read_body
from webhooks.ids import id_in_path

LISTED_MAX = 50
BODY_BYTES_MAX = 64 * 1024
SCAN_ID_DIGITS_MAX = 18


class BackfillRoutes:
    """The routes of backfills."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    @property
    def routes(self) -> list[Route]:
        """What create_app adds."""
        return [
            Route("/backfills", self._all, methods=["GET", "POST"]),
            Route("/backfills/{number:id}", self._one, methods=["GET", "DELETE"]),
        ]

    async def _all(self, request: Request) -> Response:
        return await (self.create if request.method == "POST" else self.list)(request)

    async def _one(self, request: Request) -> Response:
        return await (self.cancel if request.method == "DELETE" else self.show)(request)

    async def create(self, request: Request) -> Response:
        """202 with the backfill's id; 200 with the id of an identical one that is not over."""
        self._admin.require_token(request)
        fields = await _fields(request)
        try:
            wanted = read_request(fields)
        except WrongField as wrong:
            raise Refusal(422, str(wrong)) from None
        if self._admin.live_mode is None:
            raise Refusal(409, "without STRIPE_API_KEY nothing can be read from Stripe: set it and restart")
        async with self._admin.connection() as connection:
            scan, new = await ask_for_scan(connection, wanted, live_mode=self._admin.live_mode)
        await self._admin.bell.ring_bulk("scan")
        answer = json_answer({"id": scan.id, "status": scan.status}, status=202 if new else 200)
        answer.headers["Location"] = f"/backfills/{scan.id}"
        return answer

    async def list(self, request: Request) -> Response:
        """The latest backfills, the newest first."""
        self._admin.require_token(request)
        async with self._admin.connection() as connection:
            scans = await select_scans(connection, "backfill", limit=LISTED_MAX)
            reports = [await report_scan(connection, scan) for scan in scans]
        return json_answer({"backfills": reports})

    async def show(self, request: Request) -> Response:
        """How far one backfill is, per object."""
        self._admin.require_token(request)
        number = _number(request)
        async with self._admin.connection() as connection:
            scan = await select_scan(connection, number, "backfill")
            if scan is None:
                raise Refusal(404, f"there is no backfill {number}: GET /backfills lists them")
            return json_answer(await report_scan(connection, scan))

    async def cancel(self, request: Request) -> Response:
        """Stop at the next page; stored rows stay. 409 if it is over already."""
        self._admin.require_token(request)
        number = _number(request)
        async with self._admin.connection() as connection:
            canceled = await cancel_scan(connection, number, "backfill")
            scan = canceled or await select_scan(connection, number, "backfill")
        if scan is None:
            raise Refusal(404, f"there is no backfill {number}: GET /backfills lists them")
        if canceled is None:
            raise Refusal(409, f"backfill {number} is over: it is {scan.status}")
        await self._admin.bell.ring_bulk("scan")
        return json_answer({"id": scan.id, "status": scan.status})


async def _fields(request: Request) -> dict[str, object]:
    """The body's fields; an empty body requests everything."""
    body = await read_body(request, bytes_max=BODY_BYTES_MAX)
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, 'the body must be a JSON object: {"objects": ["all"]}') from None


def _number(request: Request) -> int:
    text = id_in_path(request, "number")
    if not (text.isascii() and text.isdigit() and len(text) <= SCAN_ID_DIGITS_MAX):
        raise Refusal(404, "the id of a backfill is a number: GET /backfills lists them")
    return int(text)
