"""The answers of the web process: JSON, and refusals that say what was wrong and what to do."""

import msgspec
from starlette.responses import Response

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Refusal(Exception):
    """An answer other than 200, with a sentence that says what was wrong and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def json_answer(content: object, *, status: int = 200) -> Response:
    """The content as JSON."""
    return Response(_ENCODER.encode(content), status_code=status, media_type="application/json")
