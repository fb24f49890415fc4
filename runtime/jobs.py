"""How arq's jobs are stored in Redis: as JSON, which is readable there and executes nothing when it is loaded."""

import json
from typing import Any


def serialize_job(job: dict[str, Any]) -> bytes:
    """The job as JSON; a value that JSON lacks (an exception in a result) becomes its text."""
    return json.dumps(job, default=str).encode()


def deserialize_job(payload: bytes) -> dict[str, Any]:
    """The job as arq expects it. Raises ValueError when the payload is no job."""
    job = json.loads(payload)
    if not isinstance(job, dict):
        raise ValueError("a job in Redis is not a JSON object")  # noqa: TRY004 - arq logs and drops it by this
    return job
