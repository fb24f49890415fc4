"""A sandbox account for the benchmark, in a process of its own: plays stories, writes the events down, then serves.

`python -m bench.account PORT FOLDER CUSTOMERS SEED STORIES_EVERY` writes FOLDER/events.jsonl (one webhook body a line)
and FOLDER/reads.jsonl (one [account, path] a line: every object, asked for as the worker asks), and then answers
Stripe's API on PORT. The API's own count of requests is at /tally. With PORT 0 it ends after writing.
"""

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

import msgspec
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.plans import API_KEY
from subledger.billing.registry import KINDS, kind_of
from subledger.sandbox import STORIES, Api, Sandbox, create_api


def play(folder: Path, *, customers: int, seed: int, stories_every: int) -> Sandbox:
    """Play the stories to their ends, and write down what there is to post and to read."""
    sandbox = Sandbox(seed)
    sandbox.play(list(STORIES)[::stories_every], customers=customers)
    # The key serves test mode: events of live mode would only be put aside.
    bodies = [event.body for event in sandbox.run() if not event.live_mode]
    (folder / "events.jsonl").write_bytes(b"".join(body + b"\n" for body in bodies))
    reads = []
    for (account_id, live_mode), account in sandbox.accounts.items():
        for thing in account.things.values():
            kind = kind_of(thing.kind)
            if kind is not None and not live_mode:
                query = "&".join(f"expand[]={quote(expand, safe='.')}" for expand in KINDS[kind.name].expands)
                path = kind.retrieve_path.format(id=quote(thing.id, safe=""))
                reads.append([account_id, f"{path}?{query}" if query else path])
    (folder / "reads.jsonl").write_bytes(b"".join(msgspec.json.encode(read) + b"\n" for read in reads))
    sandbox.forget_events(keep=0)
    return sandbox


def with_tally(api: Api) -> ASGIApp:
    """The API, and beside it how many requests it has seen."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/tally":
            await api(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % api.tally.requests})

    return answer


def main() -> None:
    port, folder, customers, seed, stories_every = sys.argv[1:]
    sandbox = play(Path(folder), customers=int(customers), seed=int(seed), stories_every=int(stories_every))
    if int(port):
        config = uvicorn.Config(
            with_tally(create_api(sandbox, [API_KEY])),
            host="127.0.0.1",
            port=int(port),
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            lifespan="off",
            date_header=False,
            server_header=False,
        )
        asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
