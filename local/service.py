"""A service of the company's, as `make up` plays it: over the customers API it keeps customers and counts use."""

import asyncio
import contextlib
from collections.abc import Mapping
from itertools import count

import aiohttp

from sandbox.demo import ACME, ACME_ENTITIES, METERED_FEATURE

EVERY_SECONDS = 4.0
VISITOR = "visitor_1"
TIMEOUT_SECONDS = 10.0
_NOTHING = (aiohttp.ClientError, TimeoutError)


async def serve_customers(url: str, admin_token: str) -> None:
    """Keep two entities of a customer, give one that Stripe does not know a grant, and track use, until cancelled.

    What fails is tried again at the next turn, as a service would.
    """
    headers = {"Authorization": f"Bearer {admin_token}"}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(base_url=url, headers=headers, timeout=timeout) as session:
        introduced = False
        for turn in count(1):
            with contextlib.suppress(*_NOTHING):
                introduced = introduced or await _introduce(session)
                for entity_id in ACME_ENTITIES if introduced else ():
                    used = {
                        "feature_id": METERED_FEATURE,
                        "value": turn % 20 + 1,
                        "entity_id": entity_id,
                    }
                    await _send(session, "POST", f"/customers/{ACME}/track", used)
            await asyncio.sleep(EVERY_SECONDS)


async def _introduce(session: aiohttp.ClientSession) -> bool:
    """The customers and entities that the service knows of itself; False if one of them was not taken."""
    async with session.get(f"/customers/{ACME}") as answer:
        if answer.status != 200:
            return False  # Stripe's customer of that name has not come yet
    sent = [
        await _send(
            session, "PUT", f"/customers/{ACME}/entities/{entity_id}", {"type": "workspace", "name": name}
        )
        for entity_id, name in zip(ACME_ENTITIES, ("Acme Europe", "Acme America"), strict=True)
    ]
    visitor = {"name": "A visitor", "email": "visitor@example.com"}
    sent.append(await _send(session, "PUT", f"/customers/{VISITOR}", visitor))
    sent.append(
        await _send(session, "POST", f"/customers/{VISITOR}/grants", {"product_id": "team", "days": 14})
    )
    return all(sent)


async def _send(session: aiohttp.ClientSession, method: str, path: str, body: Mapping[str, object]) -> bool:
    async with session.request(method, path, json=body) as answer:
        return answer.status < 300
