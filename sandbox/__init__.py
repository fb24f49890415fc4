"""A simulated Stripe account with its own clock: objects, events, REST API, webhooks, and the truth about them.

From the bottom up: `objects/` and `shapes/` (what an API version shows of them); `store` (objects, ids, event log,
books); the parts that act on a store (`catalogue`, `payments`, `invoices`, `subscriptions`, ...); `account` puts them
together; `truth` reads what records must say; `world` has the clock and the accounts; `stories/` play in it (`play`);
`history` and `faults` spoil answers; `api/` answers and `delivery` posts; `life` and `live` run an account by itself.

sandbox = Sandbox(seed=7)
sandbox.play(customers=200)
events = sandbox.run()
async with serve(create_api(sandbox, ["sk_test_1"])) as base_url:
    await deliver(events, webhook_url, "whsec_1")
expected = sandbox.truth()
"""

from sandbox.account import Account
from sandbox.api import Api, Gate, RateLimits, create_api, serve
from sandbox.delivery import IN_ORDER, Plan, Report, arrange, deliver, sign
from sandbox.events import Event
from sandbox.faults import Faults
from sandbox.history import History
from sandbox.play import Sandbox
from sandbox.stories import STORIES, Stage, Story, StoryBrokenError
from sandbox.thin import STYLES, Style, as_sent
from sandbox.truth import (
    CustomerKey,
    ExpectedCustomer,
    ExpectedEntity,
    ExpectedMrr,
    ExpectedProduct,
    ExpectedRevenue,
    ExpectedUsage,
)
from sandbox.versions import BEFORE_BASIL, ENDIVE, OLDEST
from sandbox.world import MIXED, NEW, OLD, START

__all__ = [
    "BEFORE_BASIL",
    "ENDIVE",
    "IN_ORDER",
    "MIXED",
    "NEW",
    "OLD",
    "OLDEST",
    "START",
    "STORIES",
    "STYLES",
    "Account",
    "Api",
    "CustomerKey",
    "Event",
    "ExpectedCustomer",
    "ExpectedEntity",
    "ExpectedMrr",
    "ExpectedProduct",
    "ExpectedRevenue",
    "ExpectedUsage",
    "Faults",
    "Gate",
    "History",
    "Plan",
    "RateLimits",
    "Report",
    "Sandbox",
    "Stage",
    "Story",
    "StoryBrokenError",
    "Style",
    "arrange",
    "as_sent",
    "create_api",
    "deliver",
    "serve",
    "sign",
]
