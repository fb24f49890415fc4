"""A sandbox account for the benchmark, in a process of its own: plays stories, writes their events, then serves.

`python -m bench.account PORT FOLDER CUSTOMERS SEED STORIES_EVERY` writes FOLDER/events.jsonl (one webhook body a
line), FOLDER/probes.jsonl (the same of customers "probe 0", "probe 1", ..., created at the end) and FOLDER/reads.jsonl
(one [account, path] a line: every object, as the worker reads it), and then answers Stripe's API on PORT. How many
requests of each operation it has seen is at /tally. With PORT 0 it ends after writing. With PORT lists it writes
FOLDER/lists instead, for `bench.double`: the objects of each list, the youngest first, as they come in pages.
"""

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.plans import API_KEY
from bench.serving import serve
from billing.kinds.lists import THROUGH, listed_kinds
from billing.kinds.parse import NestedList, nested_lists
from billing.kinds.registry import KINDS, kind_of
from runtime.stripe_api import API_VERSION
from sandbox import STORIES, Api, Gate, RateLimits, Sandbox, create_api
from worker.live.pages import list_path

LONG_AGO = datetime(2010, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)

PROBES_MAX = 1_000
"""How many customers are created at the end, for the latency."""

PLAYED = [name for name in STORIES if name != "on_a_test_clock"]
"""The double lacks the lists of single customers, through which the worker reads those on test clocks."""


def play(folder: Path, *, customers: int, seed: int, stories_every: int) -> Sandbox:
    """Play the stories to their ends, and write the events to post and the objects to read."""
    sandbox = Sandbox(seed)
    sandbox.play(PLAYED[::stories_every], customers=customers)
    # The key serves test mode: events of live mode would only be set aside.
    bodies = [event.body for event in sandbox.run() if not event.live_mode]
    (folder / "events.jsonl").write_bytes(b"".join(body + b"\n" for body in bodies))
    reads = reads_of(sandbox)
    (folder / "reads.jsonl").write_bytes(b"".join(msgspec.json.encode(read) + b"\n" for read in reads))
    sandbox.forget_events(keep=0)
    for number in range(PROBES_MAX):
        sandbox.home.clients.create(f"probe {number}", None, payment_method=None)
    (folder / "probes.jsonl").write_bytes(b"".join(event.body + b"\n" for event in sandbox.events))
    sandbox.forget_events(keep=0)
    return sandbox


def reads_of(sandbox: Sandbox) -> list[tuple[str, str]]:
    """Account and path of the read of every object in test mode, as the worker reads it."""
    reads = []
    for (account_id, live_mode), account in sandbox.accounts.items():
        for thing in account.things.values():
            kind = kind_of(thing.kind)
            if kind is not None and not live_mode:
                query = "&".join(f"expand[]={quote(expand, safe='.')}" for expand in KINDS[kind.name].expands)
                path = kind.retrieve_path.format(id=quote(thing.id, safe=""))
                reads.append((account_id, f"{path}?{query}" if query else path))
    return reads


async def write_down(api: Api) -> None:
    """Have the API write down all objects, so that it answers from memory: at Stripe, answers take no CPU of ours."""
    for account_id, target in reads_of(api.sandbox):
        await ask(api, target, account_id=account_id)


async def write_lists(sandbox: Sandbox, folder: Path) -> None:
    """Write every list of the account, the rest of each list that is cut inside an object, and the objects that are in
    no list but can be read by their ids.
    """
    home = sandbox.accounts["", False]
    kinds = listed_kinds()
    listed: set[tuple[str, str]] = set()  # a price and its plan have one id
    rests: list[NestedList] = []
    for kind, variant in [(each, variant) for each in KINDS.values() for variant in each.list_variants]:
        api = create_api(sandbox, [API_KEY])  # a new one each time: it keeps its answers
        with (folder / f"{kind.name}{variant}.jsonl").open("wb") as file:
            after: str | None = None
            more = kind.name in kinds
            while more:
                answer = await ask(
                    api, list_path(kind, low=LONG_AGO, high=FAR_AHEAD, after=after, variant=variant)
                )
                if answer is None:
                    break  # the sandbox has no such list
                page = msgspec.json.decode(answer, type=_Page)
                file.writelines(_line(body) for body in page.data)
                for body in page.data:
                    found = msgspec.json.decode(body)
                    rests += nested_lists(found)
                    after = found["id"]
                    listed.add((kind.name, found["id"]))
                more = page.has_more
    api = create_api(sandbox, [API_KEY])
    unlisted: Counter[str] = Counter()
    with (folder / "unlisted.jsonl").open("wb") as file:
        for thing in home.things.values():
            of = kind_of(thing.kind)
            if of is None or (of.name, thing.id) in listed:
                continue
            answer = await ask(api, of.retrieve_path.format(id=quote(thing.id, safe="")))
            if answer is not None:
                file.write(_line(answer))
                unlisted[of.name] += 1
    (folder / "unlisted.json").write_bytes(msgspec.json.encode(unlisted))
    with (folder / "rests.jsonl").open("wb") as file:
        for rest in rests:
            target = f"{rest.url}{'&' if '?' in rest.url else '?'}limit=100&starting_after={rest.last_id}"
            answer = await ask(api, target)
            if answer is not None:
                file.write(_line(msgspec.json.encode((target, msgspec.Raw(answer)))))
    parts = [thing.kind for thing in home.things.values() if thing.kind in THROUGH]
    (folder / "parts.json").write_bytes(msgspec.json.encode(Counter(parts)))
    (folder / "now").write_text(str(sandbox.now))


def _line(answer: bytes | msgspec.Raw) -> bytes:
    """JSON that is indented, as Stripe writes it, in one line."""
    return msgspec.json.format(bytes(answer), indent=-1) + b"\n"


async def ask(api: Api, target: str, *, account_id: str = "") -> bytes | None:
    """The answer of the sandbox's API, without a network; None for 404."""
    path, _, query = target.partition("?")
    status: list[int] = []
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])
        else:
            parts.append(message["body"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [
            (b"authorization", f"Bearer {API_KEY}".encode()),
            (b"stripe-version", API_VERSION.encode()),
            (b"stripe-account", account_id.encode()),
        ],
    }
    await api(scope, receive, send)
    if status == [404]:
        return None
    if status != [200]:
        raise RuntimeError(f"the sandbox answers {status} for {target}: {parts}")
    return b"".join(parts)


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool


_LISTS = {kind.list_path: f"list {kind.name}" for kind in reversed(list(KINDS.values())) if kind.list_path}
_READS = {
    kind.retrieve_path.partition("{")[0].partition("?")[0]: f"get {kind.name}"
    for kind in reversed(list(KINDS.values()))
}


def operation_of(path: str) -> str:
    """The operation that a request is one of, as Stripe counts them: a list, or the reads of one kind by id."""
    found = _LISTS.get(path) or _READS.get(path) or _READS.get(path[: path.rfind("/") + 1])
    return found or next((name for prefix, name in _READS.items() if path.startswith(prefix)), path)


def with_tally(api: Api) -> ASGIApp:
    """The API, and at /tally how many requests of each operation it has seen.

    A request of /limits?account=N&operation=N&latency_ms=N enforces limits from then on, one of /limits none. At
    /refused is how many requests were refused since then, by Stripe's reason.
    """
    seen: Counter[str] = Counter()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await api(scope, receive, send)
            return
        if scope["path"] not in ("/tally", "/limits", "/refused"):
            seen[operation_of(scope["path"])] += 1
            await api(scope, receive, send)
            return
        if scope["path"] == "/limits":
            _limit(api, dict(parse_qsl(scope["query_string"].decode())))
        refused = Counter() if api.gate is None else api.gate.refused
        await say(send, msgspec.json.encode(refused if scope["path"] == "/refused" else seen))

    return answer


def _limit(api: Api, asked: dict[str, str]) -> None:
    api.faults.latency_seconds = float(asked.get("latency_ms", "0")) / 1000
    api.gate = None
    if "account" in asked:
        api.gate = Gate(RateLimits(account=int(asked["account"]), operation=int(asked["operation"])))


async def say(send: Send, body: bytes) -> None:
    """Answer a question of the benchmark's own."""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    port, folder, customers, seed, stories_every = sys.argv[1:]
    if port == "lists":
        sandbox = Sandbox(int(seed))
        sandbox.play(PLAYED[:: int(stories_every)], customers=int(customers))
        for step in count():
            if not sandbox.playing:
                break
            sandbox.step()
            if step % 10_000 == 0:
                sandbox.forget_events(keep=0)  # nobody reads them, and they are larger than the objects
        Path(folder).mkdir()
        asyncio.run(write_lists(sandbox, Path(folder)))
        return
    sandbox = play(Path(folder), customers=int(customers), seed=int(seed), stories_every=int(stories_every))
    if int(port):
        api = create_api(sandbox, [API_KEY])
        asyncio.run(write_down(api))
        serve(with_tally(api), port=int(port))


if __name__ == "__main__":
    main()
