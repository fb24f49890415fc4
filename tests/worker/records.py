"""Records beside the sandbox's truth, compared field by field."""

from sandbox.truth import CustomerKey, ExpectedCustomer
from tests.test_end_to_end import differences, read_records
from tests.worker.harness import Room


async def assert_true(room: Room, truth: dict[CustomerKey, ExpectedCustomer], *, what: str = "") -> None:
    """Every record equals the truth in every field, and is exact."""
    records = await read_records(room.settings.database_url)
    different = differences(truth, records)
    assert not different, "\n".join([what, *different])
