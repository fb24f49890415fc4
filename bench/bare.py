"""The web process that answers without storing: what a webhook costs before it is made durable.

Everything else is the process that operators run: the same command, server, application and signature check.
"""

from unittest.mock import patch

from cli.web import web
from db.sync.inbox import SignedEvent
from webhooks.inbox import Inbox


class ForgetfulInbox(Inbox):
    """Takes every event and keeps none."""

    async def start(self) -> None:
        pass

    async def store(self, event: SignedEvent) -> None:
        pass


if __name__ == "__main__":
    with patch("webhooks.app.Inbox", ForgetfulInbox):
        web(host="127.0.0.1")
