"""A reader as docs/sql.md tells readers to be: it keeps a copy of the records by polling `change`."""

import asyncpg

# docs/record.md and docs/sql.md, with the reader's own values in their places.
POLL = """
select (select epoch from billing.epoch) as epoch, change, stripe_customer_id, name, exact
from billing.customers
where change > case when (select epoch from billing.epoch) = $1 then $2 else 0 end
order by change
limit 7
"""


class Reader:
    """A copy of the records, kept by polling `change` within its epoch."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.epoch: object = None
        self.change = 0
        self.copy: dict[str, tuple[str | None, bool]] = {}
        self.epochs: list[object] = []

    async def poll(self) -> None:
        """Read until nothing is new."""
        connection = await asyncpg.connect(self.url)
        try:
            while rows := await connection.fetch(POLL, self.epoch, self.change):
                for row in rows:
                    if row["epoch"] != self.epoch:
                        self.epoch, self.copy = row["epoch"], {}
                        self.epochs.append(self.epoch)
                    assert row["change"] > 0
                    self.change = row["change"]
                    self.copy[row["stripe_customer_id"]] = (row["name"], row["exact"])
        finally:
            await connection.close()
