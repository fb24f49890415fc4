"""What moved a customer's objects last, and so when a change happened that has just been noticed."""

from collections.abc import Sequence

from db.records.history import LastCause


def newest_of(occasions: Sequence[LastCause]) -> LastCause | None:
    """What happened last to these objects, and so has changed what is derived of them; None: nothing is known of it.

    Of several objects that events moved, the one whose event is the latest: they need not arrive in their order. Where
    the last thing that happened is no event, it is that: of what a deadline or an audit found, no event told.
    """
    return max(of_events(occasions), key=_happened, default=max(occasions, key=_tick, default=None))


def of_events(occasions: Sequence[LastCause]) -> list[LastCause]:
    """Those that tell when something happened; none where the newest of all is no event, so that no old event of
    another object is taken for it.
    """
    if not occasions or max(occasions, key=_tick).source != "event":
        return []
    return [each for each in occasions if each.source == "event" and each.event_created is not None]


def _tick(occasion: LastCause) -> int:
    return occasion.tick


def _happened(occasion: LastCause) -> tuple[float, int]:
    created = occasion.event_created
    return float("-inf") if created is None else created.timestamp(), occasion.tick
