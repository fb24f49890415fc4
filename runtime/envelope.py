"""The envelope of a webhook: what the inbox needs to know of it, read without touching its data."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec

from billing.kinds.found import is_id, is_id_of
from db.sync.inbox import SignedEvent


class _Envelope(msgspec.Struct):
    id: str
    type: str
    livemode: bool
    created: int | str | None = None
    api_version: str | None = None
    account: str | None = None
    context: str | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


def read_envelope(body: bytes, *, live_mode_default: bool) -> SignedEvent:
    """The event as the inbox keeps it. Never fails: everything that Stripe signed is kept, however odd it is.

    An event without a usable id is known by the digest of its bytes, so that its redelivery is recognised.
    """
    try:
        envelope = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_oddity(body, live_mode_default=live_mode_default)
    account_id = _account(envelope.account, envelope.context)
    if not (
        is_id(envelope.id)
        and (not account_id or is_id_of(account_id, "account"))
        and _storable(envelope.id, envelope.type, envelope.api_version, account_id)
    ):
        return _read_oddity(body, live_mode_default=live_mode_default)
    return SignedEvent(
        account_id=account_id,
        live_mode=envelope.livemode,
        event_id=envelope.id,
        type=envelope.type,
        api_version=envelope.api_version,
        created=_moment(envelope.created),
        payload=body,
    )


def _read_oddity(body: bytes, *, live_mode_default: bool) -> SignedEvent:
    """As much of the envelope as makes sense."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    envelope: dict[str, Any] = found if isinstance(found, dict) else {}

    def text(field: str) -> str | None:
        value = envelope.get(field)
        return value if isinstance(value, str) and _storable(value) else None

    event_id, account_id = text("id"), _account(text("account"), text("context"))
    live_mode = envelope.get("livemode")
    return SignedEvent(
        account_id=account_id if is_id_of(account_id, "account") else "",
        live_mode=live_mode if isinstance(live_mode, bool) else live_mode_default,
        event_id=event_id if is_id(event_id) else f"sha256:{hashlib.sha256(body).hexdigest()}",
        type=text("type") or "",
        api_version=text("api_version"),
        created=_moment(envelope.get("created")),
        payload=body,
    )


def _account(account: str | None, context: str | None) -> str:
    """The connected account of an event, or empty. Thin events and those of an organization name it as the last part of
    `context`: acct_1, or acct_platform/acct_1.
    """
    if account:
        return account
    last = (context or "").rpartition("/")[2]
    return last if last.startswith("acct_") else ""


def _storable(*texts: str | None) -> bool:
    """Whether Postgres can store these: it takes no NUL, and UTF-8 cannot encode a lone surrogate."""
    for text in texts:
        if text is None:
            continue
        if len(text) > 1000 or "\x00" in text:
            return False
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            return False
    return True


def _moment(value: object) -> datetime | None:
    """Unix seconds, or the ISO 8601 of thin events, in UTC; None if it is neither, or no year that UTC has."""
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
