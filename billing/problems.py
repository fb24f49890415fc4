"""Problems that a person should look at: all sentences that operators read in sync.problems."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """A problem with a customer that only a person can solve; `object_id` is the object that causes it."""

    kind: str
    object_id: str
    detail: str


def status_unknown(subscription_id: str, status: str | None) -> Problem:
    return Problem(
        kind="status_unknown",
        object_id=subscription_id,
        detail=f"Subscription {subscription_id} has the status {_shown(status)}, which we do not know: "
        "it is shown as past_due without access. Add its meaning to billing/status.py.",
    )


def custom_uid_invalid(object_id: str, field: str, custom_uid: str) -> Problem:
    return Problem(
        kind="custom_uid_invalid",
        object_id=object_id,
        detail=f"{field} of {object_id} is {_shown(custom_uid)}, which is not URL-safe, and is not used as custom_uid. "
        "Set one of 1 to 255 characters out of letters, digits and . _ ~ - there.",
    )


CUSTOM_UID_TAKEN = "custom_uid_taken"


def custom_uid_taken(object_id: str, field: str, custom_uid: str, *, holder: str, reason: str) -> Problem:
    return Problem(
        kind=CUSTOM_UID_TAKEN,
        object_id=object_id,
        detail=f"{field} of {object_id} claims the custom_uid {custom_uid}, which belongs to {holder}, "
        f"{reason}. Give one of the two customers another, or merge them.",
    )


CUSTOM_UID_CROWDED = "custom_uid_crowded"


def custom_uid_crowded(custom_uid: str, *, holder: str, field: str, claimants: int) -> Problem:
    return Problem(
        kind=CUSTOM_UID_CROWDED,
        object_id=custom_uid,
        detail=f"More than {claimants} customers claim the custom_uid {custom_uid}, so it names none of them. {holder} "
        f"has it, by its {field}. Something writes one name for everybody: sync.uid_claims lists who, and from what.",
    )


def sandbox_end_invalid(object_id: str, sandbox_end: str) -> Problem:
    return Problem(
        kind="sandbox_end_invalid",
        object_id=object_id,
        detail=f"metadata.sandbox_end of {object_id} is {_shown(sandbox_end)}, which is no time, and grants nothing. "
        "Write Unix seconds (1790000000) or ISO 8601 (2026-09-21T14:13:20Z) there.",
    )


_SHOWN_MAX = 60


def _shown(value: str | None) -> str:
    if value is not None and len(value) > _SHOWN_MAX:
        return f"{value[:_SHOWN_MAX]!r}... ({len(value)} characters)"
    return repr(value)
