"""What the API creates: customers, once for each idempotency key."""

import re

import msgspec

from sandbox import shapes
from sandbox.account import Account
from sandbox.api.reads import parse_parameters
from sandbox.refusals import RefusedError
from sandbox.versions import Version

_TAKEN = ("name", "email", "description")
_METADATA = re.compile(r"metadata\[([^\[\]]{1,40})\]")


class Writes:
    """Creates objects, and remembers for which key."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, bool, str], tuple[str, bytes, bytes]] = {}
        """By account, mode and key: path, form and answer."""

    def once(self, account: Account, shape: Version, path: str, form: bytes, idempotency_key: str) -> bytes:
        """The answer to a POST; for a key that was used before, the answer that was given then."""
        key = (account.account_id, account.live_mode, idempotency_key)
        if idempotency_key and key in self._answers:
            asked_path, asked_form, answer = self._answers[key]
            if (asked_path, asked_form) != (path, form):
                raise RefusedError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                    kind="idempotency_error",
                )
            return answer
        answer = _create_customer(account, shape, form)
        if idempotency_key:
            self._answers[key] = (path, form, answer)
        return answer


def _create_customer(account: Account, shape: Version, form: bytes) -> bytes:
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for name, value in parse_parameters(form):
        if found := _METADATA.fullmatch(name):
            metadata[found[1]] = value
        elif name in _TAKEN:
            fields[name] = value
        else:
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
    customer = account.clients.create(
        fields.get("name"),
        fields.get("email"),
        description=fields.get("description"),
        metadata=metadata,
        payment_method=None,
    )
    return msgspec.json.encode(shapes.render(customer, shape, account))
