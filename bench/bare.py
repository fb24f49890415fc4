"""The web process that answers without storing: what a webhook costs before it is made durable.

Everything else is the very process that operators run: the same command, server, application and signature check.
"""

from unittest.mock import patch

from subledger.cli.app import web
from subledger.db.queries.inbox import SignedEvent
from subledger.webhooks.inbox import Inbox


class ForgetfulInbox(Inbox):
    """Takes every event and keeps none."""

    async def start(self) -> None:
        pass

    async def store(self, event: SignedEvent) -> None:
        pass


if __name__ == "__main__":
    with patch("subledger.webhooks.app.Inbox", ForgetfulInbox):
        web(host="127.0.0.1")
