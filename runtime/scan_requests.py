"""Requests for scans: the commands and POST /backfills read their fields in the same way."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from billing.kinds.found import is_shown_id_of
from billing.kinds.lists import listed_kinds
from billing.kinds.registry import KINDS
from db.connection import Connection
from db.sync.accounts import named_account
from db.sync.scans import Purpose, Scan, ScanRequest, request_scan, select_unfinished_twin

ALL = "all"


class WrongField(ValueError):
    """A field that cannot be understood; the message names it and says what is accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


def read_request(
    fields: Mapping[str, object], *, purpose: Purpose = "backfill", repair: bool = False
) -> ScanRequest:
    """Read the fields of a request: objects, since, until, customer, account. Raises WrongField."""
    for name in fields:
        if name not in ("objects", "since", "until", "customer", "account"):
            raise WrongField(
                str(name)[:50], "is unknown: there are objects, since, until, customer and account"
            )
    kinds = _kinds(fields.get("objects"))
    since, until = _moment(fields, "since"), _moment(fields, "until")
    if since is not None and until is not None and since >= until:
        raise WrongField("until", "must be later than since")
    customer_id = _id(fields, "customer")
    if customer_id is not None and (kinds != listed_kinds() or since or until):
        raise WrongField("customer", "is read with all its objects: leave out objects, since and until")
    return ScanRequest(
        purpose=purpose,
        account_id=_id(fields, "account") or "",
        kinds=kinds,
        since=since,
        until=until,
        customer_id=customer_id,
        repair=repair,
    )


def _kinds(named: object) -> tuple[str, ...]:
    if named is None or named == [ALL] or named == ALL:
        return listed_kinds()
    names = named.split(",") if isinstance(named, str) else named
    known = ", ".join((ALL, *KINDS))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise WrongField("objects", f"must be a list of names among: {known}")
    wrong = [name for name in names if name not in KINDS]
    if wrong:
        raise WrongField("objects", f"names {wrong[0][:50]!r}, which is not mirrored; there are: {known}")
    return listed_kinds(names)


def _moment(fields: Mapping[str, object], name: str) -> datetime | None:
    given = fields.get(name)
    if given is None:
        return None
    try:
        if not isinstance(given, str):
            raise ValueError  # noqa: TRY004 - said below
        moment = datetime.fromisoformat(given)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # in another zone it may still be the year 0
        raise WrongField(
            name, "must be a date, or a time with its zone: 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return moment.replace(microsecond=0)


def _id(fields: Mapping[str, object], name: str) -> str | None:
    given = fields.get(name)
    if given is None or given == "":
        return None
    if not is_shown_id_of(given, name):
        raise WrongField(name, "must be an id of Stripe")
    return given


async def ask_for_scan(connection: Connection, request: ScanRequest, *, live_mode: bool) -> tuple[Scan, bool]:
    """Request a scan; True when it is new, False when the same was requested before and has not ended yet."""
    request = replace(request, account_id=await named_account(connection, request.account_id))
    twin = await select_unfinished_twin(connection, request, live_mode=live_mode)
    if twin is not None:
        return twin, False
    return await request_scan(connection, request, live_mode=live_mode), True
