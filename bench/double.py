"""Stripe's lists from memory: an API whose answers cost next to nothing, so that only the backfill is measured.

`python -m bench.double PORT FOLDER LATENCY_MS` serves the objects that `bench.account` has written to FOLDER/lists,
and answers LATENCY_MS after each request. /tally shows how many requests it has seen, and how many of them it did
not understand.
"""

import asyncio
import sys
from bisect import bisect_left
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl

import msgspec
import uvloop

from billing.kinds.registry import KINDS

ACCOUNT = b'{"id":"acct_double","object":"account"}'
EMPTY = (
    "/v1/events",
    "/v1/test_helpers/test_clocks",
    "/v1/entitlements/active_entitlements",
    "/event_summaries",
)
"""Lists that are empty in the double."""
NOTHING = b'{"object":"list","has_more":false,"data":[]}'
MISSING = b'{"error":{"code":"resource_missing","message":"No such object"}}'


class Head(msgspec.Struct):
    """What the double has to know about an object."""

    id: str
    created: int = 0
    customer: str | None = None
    charge: str | None = None


OWNERS = ("customer", "charge")
"""The fields that a list can be filtered by: a customer's history is read that way."""


@dataclass(slots=True, kw_only=True)
class Shelf:
    """The objects of one list, the youngest first."""

    heads: list[Head]
    bodies: list[bytes]
    ages: list[int] = field(init=False)
    """Minus `created`, so that it grows along the list."""
    places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ages = [-head.created for head in self.heads]
        self.places = {head.id: place for place, head in enumerate(self.heads)}

    def of(self, owner: str, owner_id: str) -> "Shelf":
        """The part of it that belongs to a customer, or to a charge."""
        both = zip(self.heads, self.bodies, strict=True)
        kept = [(head, body) for head, body in both if getattr(head, owner) == owner_id]
        return Shelf(heads=[head for head, _ in kept], bodies=[body for _, body in kept])

    def page(self, wanted: dict[str, str]) -> bytes:
        """The page that a query asks for."""
        begin, end = 0, len(self.bodies)
        if "created[lt]" in wanted:
            begin = bisect_left(self.ages, 1 - int(wanted["created[lt]"]))
        if "created[gte]" in wanted:
            end = bisect_left(self.ages, 1 - int(wanted["created[gte]"]))
        if "starting_after" in wanted:
            begin = self.places[wanted["starting_after"]] + 1
        stop = min(begin + int(wanted.get("limit", "10")), end)
        more = b"true" if stop < end else b"false"
        return b'{"object":"list","has_more":%b,"data":[%b]}' % (more, b",".join(self.bodies[begin:stop]))


class Double:
    """The account's objects, and how many requests it has seen."""

    def __init__(self, folder: Path) -> None:
        decode = msgspec.json.Decoder(Head).decode
        self.requests = 0
        self.refused = 0
        self.date = formatdate(int((folder / "now").read_text()), usegmt=True).encode()
        self._shelves: dict[str, Shelf] = {}
        self._by_id: dict[str, bytes] = {}
        for kind in KINDS.values():
            for variant in kind.list_variants:
                bodies = (folder / f"{kind.name}{variant}.jsonl").read_bytes().splitlines()
                heads = [decode(body) for body in bodies]
                self._shelves[f"{kind.list_path or kind.name}{variant}"] = Shelf(heads=heads, bodies=bodies)
                self._by_id.update((head.id, body) for head, body in zip(heads, bodies, strict=True))
        for body in (folder / "unlisted.jsonl").read_bytes().splitlines():
            self._by_id[decode(body).id] = body

        rests = (folder / "rests.jsonl").read_bytes().splitlines()
        self._rests = dict(msgspec.json.decode(line, type=tuple[str, msgspec.Raw]) for line in rests)

    def answer(self, target: str) -> tuple[bytes, bytes]:
        """Status and body for a path with its query."""
        path, _, query = target.partition("?")
        if path == "/tally":
            return b"200 OK", b'{"requests":%d,"refused":%d}' % (self.requests, self.refused)
        self.requests += 1
        if path == "/v1/account":
            return b"200 OK", ACCOUNT
        if path.endswith(EMPTY):
            return b"200 OK", NOTHING
        wanted = dict(parse_qsl(query))
        shelf = self._shelves.get(path) or self._shelves.get(f"{path}active={wanted.get('active', 'true')}")
        if shelf is not None:
            for owner in OWNERS:
                shelf = shelf.of(owner, wanted[owner]) if owner in wanted else shelf
            return b"200 OK", shelf.page(wanted)
        body = self._rests.get(target) or self._by_id.get(path.rpartition("/")[2])
        if body is None:
            self.refused += 1
            print("not understood:", target, flush=True)
            return b"404 Not Found", MISSING
        return b"200 OK", body


class Answerer(asyncio.Protocol):
    """Reads requests, one after the other; understands only what our client sends."""

    def __init__(self, double: Double, latency_seconds: float) -> None:
        self._double = double
        self._latency_seconds = latency_seconds
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, sent = self._buffer.partition(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length: ")
        if not found or len(sent) < int(rest.partition(b"\r\n")[0] or 0):
            return
        self._buffer = b""
        method, target, _ = head.split(b" ", 2)
        # Previews of invoices are requested by POST: they are no part of a backfill, and the double has none.
        status, body = (
            self._double.answer(target.decode()) if method == b"GET" else (b"404 Not Found", MISSING)
        )
        answer = (
            b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (
                status,
                self._double.date,
                len(body),
                body,
            )
        )
        if self._latency_seconds:
            asyncio.get_running_loop().call_later(self._latency_seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(port: int, folder: Path, latency_seconds: float) -> None:
    """Answer until the process is stopped."""
    double = Double(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: Answerer(double, latency_seconds), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) / 1000))
