"""How arq's jobs are written into Redis: as JSON, which anybody can read there and which runs nothing when read."""

import json
from typing import Any


def serialize_job(job: dict[str, Any]) -> bytes:
    """The job as JSON; what JSON cannot say (an exception in a result) as its text."""
    return json.dumps(job, default=str).encode()


def deserialize_job(payload: bytes) -> dict[str, Any]:
    """The job as arq wants it. Raises ValueError when the payload is not one."""
    job = json.loads(payload)
    if not isinstance(job, dict):
        raise ValueError("a job in Redis is not a JSON object")  # noqa: TRY004 - arq logs and drops it by this
    return job
