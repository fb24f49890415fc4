"""Reading Stripe: one lean client for single objects and lists, with the API version pinned on every request.

Not the stripe package's client: a read needs the bytes of the answer, for the mirror, and the headers, to understand
a refusal; the package parses every body twice and retries by itself, out of sight of our leases
(docs/decisions/0002-lean-api-client.md).
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import msgspec

from runtime.budget import Budget, NoTurn
from runtime.expansions import Expansions
from runtime.limiter import Lane
from runtime.limits import operation_of
from runtime.metrics import STRIPE_CALLS

if TYPE_CHECKING:
    import aiohttp

API_VERSION = "2026-10-28.endive"
"""The shape that every read asks for; billing/kinds reads all older ones too, since events come in them."""

REQUEST_TIMEOUT_SECONDS = 20.0
ANSWER_BYTES_MAX = 32 * 1024 * 1024
NOT_STRIPES = "an answer that is not Stripe's"
AHEAD_MAX = timedelta(seconds=5)
"""How far Stripe's clock may be ahead of ours."""


class StripeError(Exception):
    """A request to Stripe did not bring what it asked for."""


class StripeUnavailable(StripeError):
    """Stripe gave no answer that says anything about the object: a timeout, a reset, a 5xx, a limit, or a page of what
    stands between us and Stripe, whatever its status. Try later.
    """

    def __init__(
        self,
        message: str,
        *,
        limited_by: str | None = None,
        is_an_answer: bool = False,
        repeated: bool = False,
        reached: bool = True,
    ) -> None:
        super().__init__(message)
        self.limited_by = limited_by
        """Stripe-Rate-Limited-Reason; without it `lock_timeout` or `unknown`. None if Stripe did not say too many."""
        self.is_an_answer = is_an_answer
        """Whether it is a 5xx: for the same idempotency key Stripe would repeat it, for 24 hours."""
        self.repeated = repeated
        """Whether Stripe has repeated an earlier answer for this idempotency key, and has tried nothing."""
        self.reached = reached
        """Whether Stripe may have got the request. False: there was no connection."""


class StripeNotAsked(StripeUnavailable):
    """No request was sent: its turn did not come in time. Only a budget that bounds the wait lets this happen."""


class StripeMissing(StripeError):
    """Stripe answered 404: this key sees no such object. Absence, and evidence of nothing else."""


class StripeRefused(StripeError):
    """Stripe refuses this key or this request (400, 401, 403): trying again changes nothing until somebody acts."""

    def __init__(
        self, message: str, *, status: int, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """Stripe's word for the reason; None if it gives none."""
        self.param = param
        """What of the request it is about; None if it does not say."""

    @property
    def forbidden(self) -> bool:
        """Whether the key lacks a right, or the access to the account."""
        return self.status == 403

    @property
    def account_is_closed(self) -> bool:
        """Whether a connected account has taken its access back (or never gave it): nothing of it can be read."""
        return self.forbidden and self.code == "account_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A JSON object that Stripe answered with."""

    body: bytes
    answered_at: datetime
    """By Stripe's clock (the Date header), which also stamps events; ours if it is missing."""
    seconds: float = 0.0
    """How long it took to come."""
    sent_at: datetime | None = None
    """When the request left, by our clock; None if nobody has looked."""

    @property
    def asked_at(self) -> datetime:
        """When the request left, by Stripe's clock, to its whole seconds: nothing later is sure to be in the answer.

        A Date that is ahead of our clock may be that of something between us and Stripe: then ours counts. Too early a
        moment costs another read; too late a one would hide that the answer is late.
        """
        asked_at = self.answered_at - timedelta(seconds=int(self.seconds))
        return asked_at if self.sent_at is None else min(asked_at, self.sent_at + AHEAD_MAX)


class StripeApi:
    """Reads of one account (and its connected accounts) in the key's mode, for one lane.

    The lanes of a process share its budget. Each request waits there for a turn of its operation: a list of a kind and
    a read by id are two operations, and neither waits for the other.
    """

    def __init__(
        self,
        *,
        api_key: str,
        api_base: str,
        budget: Budget,
        lane: Lane = Lane.LIVE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        credentials = base64.b64encode(f"{api_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Stripe-Version": API_VERSION,
            "User-Agent": "subledger",
        }
        self._base = api_base.rstrip("/")
        self.budget = budget
        self.lane = lane
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0
        """Requests sent since the start."""
        self.expansions = Expansions()
        """Those that this API has refused: its reads leave them out."""
        self.unlistable: set[tuple[str, str]] = set()
        """Accounts and kinds of whose lists this API has refused a stretch: their objects are read by their ids."""

    async def __aenter__(self) -> Self:
        import aiohttp  # a third of a second: commands that ask Stripe nothing do without

        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),  # the budget bounds it
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, path: str, *, account_id: str, expands: tuple[str, ...] = ()) -> Answer:
        """GET a path of the API, which may carry a query, on behalf of an account ('' is the key's own).

        Raises StripeMissing, StripeRefused or StripeUnavailable.
        """
        with _counted("GET", path):
            return await self._ask("GET", path, account_id=account_id, expands=expands)

    async def create(
        self, path: str, fields: Mapping[str, str], *, account_id: str, idempotency_key: str
    ) -> Answer:
        """POST to a path of the API, which creates or changes something at Stripe: once, however often it is sent with
        this key.

        Raises as `read` does.
        """
        headers = {"Idempotency-Key": idempotency_key}
        with _counted("POST", path):
            return await self._ask("POST", path, account_id=account_id, fields=fields, headers=headers)

    async def preview(self, path: str, fields: Mapping[str, str], *, account_id: str) -> Answer:
        """POST to a path of the API that only computes an answer, and creates and changes nothing at Stripe.

        Raises as `read` does.
        """
        with _counted("POST", path):
            return await self._ask("POST", path, account_id=account_id, fields=fields)

    async def change(self, path: str, fields: Mapping[str, str], *, account_id: str) -> Answer:
        """POST to a path of the API that creates or changes something at Stripe, each time that it is sent.

        Raises as `read` does.
        """
        with _counted("POST", path):
            return await self._ask("POST", path, account_id=account_id, fields=fields)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        account_id: str,
        expands: tuple[str, ...] = (),
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        import aiohttp

        query = "&".join(f"expand[]={quote(expand, safe='.')}" for expand in expands)
        url = f"{self._base}{path}{'&' if '?' in path else '?'}{query}" if query else f"{self._base}{path}"
        try:
            turn = await self.budget.enter(self.lane, account_id, operation_of(method, path))
        except NoTurn as error:
            raise StripeNotAsked(f"too much is asked of it: {error}") from None
        try:
            self.requests += 1
            began, sent_at = time.monotonic(), self._now()
            status, answered, body = await self._send(method, url, account_id, fields, headers or {})
            if status == 200 and _is_stripes(body):
                return Answer(
                    body=body,
                    answered_at=_date(answered.get("Date")),
                    seconds=time.monotonic() - began,
                    sent_at=sent_at,
                )
            refusal = _error(method, status, path, body, answered)
            if isinstance(refusal, StripeUnavailable) and refusal.limited_by is not None:
                self.budget.limited(turn, refusal.limited_by)
            raise refusal
        except TimeoutError:
            raise StripeUnavailable(f"no answer to {path} in {REQUEST_TIMEOUT_SECONDS:.0f} s") from None
        except aiohttp.ClientConnectorError as error:
            raise StripeUnavailable(f"{path}: {type(error).__name__}: {error}", reached=False) from None
        except (aiohttp.ClientError, OSError) as error:
            # The repr of some shows our headers, and so the key.
            raise StripeUnavailable(f"{path}: {type(error).__name__}: {error}") from None
        finally:
            self.budget.leave(turn)

    async def _send(
        self,
        method: str,
        url: str,
        account_id: str,
        fields: Mapping[str, str] | None,
        further: Mapping[str, str],
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            raise RuntimeError("StripeApi is used outside its `async with`")
        headers = {**further, **({"Stripe-Account": account_id} if account_id else {})}
        # Not followed: a redirect would carry the key elsewhere.
        async with self._session.request(
            method, url, headers=headers, data=fields, allow_redirects=False
        ) as response:
            chunks, size = [], 0
            while chunk := await response.content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > ANSWER_BYTES_MAX:
                    raise StripeUnavailable(f"an answer is larger than {ANSWER_BYTES_MAX} bytes")
            return response.status, response.headers, b"".join(chunks)


@contextmanager
def _counted(method: str, path: str) -> Iterator[None]:
    """Count a request and what came of it. One that was not sent, or is cut off because the process stops, has no
    outcome.
    """
    outcome = "ok"
    try:
        yield
    except StripeMissing:
        outcome = "missing"
        raise
    except StripeRefused:
        outcome = "refused"
        raise
    except StripeNotAsked:
        outcome = ""
        raise
    except StripeUnavailable as error:
        outcome = "unavailable" if error.limited_by is None else "limited"
        raise
    except BaseException:
        outcome = ""
        raise
    finally:
        if outcome:
            STRIPE_CALLS.labels(operation_of(method, path), outcome).inc()


def _error(method: str, status: int, path: str, body: bytes, headers: Mapping[str, str]) -> StripeError:
    found = _stripe_error(body)
    code, message, param = found or (None, NOT_STRIPES, None)
    said = f"{status} for {path}: {code or 'no code'}: {message}"[:500].replace(
        "\0", ""
    )  # a text in Postgres cannot hold it
    if status == 429 or (status == 400 and code == "rate_limit"):
        reason = headers.get("Stripe-Rate-Limited-Reason")
        if not reason:
            reason = "lock_timeout" if code == "lock_timeout" else "unknown"
        return StripeUnavailable(f"limited ({reason}): {said}", limited_by=reason)
    if found is not None and status == 404:
        return StripeMissing(said)
    # Of a read, 402 (a payment that failed) is no word of Stripe's, whatever its body looks like.
    if found is not None and (status in (400, 401, 403) or (status == 402 and method != "GET")):
        return StripeRefused(said, status=status, code=code, param=param)
    # Whatever stands between us and Stripe knows nothing of the object.
    repeated = headers.get("Idempotent-Replayed", "") == "true"
    return StripeUnavailable(said, is_an_answer=status >= 500, repeated=repeated)


class _Object(msgspec.Struct):
    object: str


def _is_stripes(body: bytes) -> bool:
    """Whether this is a JSON object that says, as each of Stripe's does, what it is."""
    try:
        msgspec.json.decode(body, type=_Object)
    except msgspec.ValidationError:
        return False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Lone surrogates, which are cleaned, or nesting without end, of which whoever reads it says so.
        return body.startswith(b"{") and b'"object"' in body
    return True


def _stripe_error(body: bytes) -> tuple[str | None, str, str | None] | None:
    """The code, the message and the parameter of Stripe's error body, whose messages hold keys only in redacted form;
    None if it is none of Stripe's.
    """
    try:
        error: Any = msgspec.json.decode(body)["error"]
        code, message, param = error.get("code"), error["message"], error.get("param")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return (
        code if isinstance(code, str) else None,
        str(message),
        param if isinstance(param, str) else None,
    )


def _date(header: str | None) -> datetime:
    if header is not None:
        try:
            return parsedate_to_datetime(header).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    return datetime.now(UTC)
