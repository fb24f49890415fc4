"""The worker process that reads pages and stores nothing of them: what a backfill costs before it is kept.

Everything else is the process that operators run: the same windows, requests and parsing, and the same cursors.
"""

from collections.abc import Sequence
from unittest.mock import patch

from cli.worker import worker
from db.connection import Connection
from db.sync.scans import Scan
from worker.live.answers import Answered


async def store_nothing(
    _connection: Connection, _scan: Scan, _answers: Sequence[Answered], *, singly: bool
) -> None:
    """Take what pages hold and keep nothing."""
    del singly


if __name__ == "__main__":
    with patch("worker.page_writer.store_answers_of", store_nothing):
        worker()
