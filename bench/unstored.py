"""The worker process that reads pages and stores nothing of them: what a backfill costs before it is kept.

Everything else is the very process that operators run: the same windows, requests and parsing, and the same cursors.
"""

from unittest.mock import patch

from subledger.cli.app import worker
from subledger.db.connection import Connection
from subledger.db.queries.backfills import Scan
from subledger.worker.pages import Page


async def store_nothing(_connection: Connection, _scan: Scan, _page: Page, *, singly: bool) -> None:
    """Take a page and keep nothing."""
    del singly


if __name__ == "__main__":
    with patch("subledger.worker.scans.store_page", store_nothing):
        worker()
