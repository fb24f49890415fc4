"""What the API creates and changes: customers, sessions and meter events, once for each idempotency key."""

import re
from collections.abc import Callable, Mapping

import msgspec

from sandbox import shapes
from sandbox.account import Account
from sandbox.api.metered import count_meter_event
from sandbox.api.reads import parse_parameters
from sandbox.api.sold import open_portal, open_session
from sandbox.objects import Customer
from sandbox.refusals import RefusedError
from sandbox.versions import Version

_TAKEN = ("name", "email", "description")
_CUSTOMERS = "/v1/customers"
METADATA_KEYS_MAX = 50
_METADATA = re.compile(r"metadata\[([^\[\]]{1,40})\]")


class Writes:
    """Creates and changes objects, and remembers for which key."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, bool, str], tuple[str, bytes, bytes | None]] = {}
        """By account, mode and key: path, form and answer; None: an answer 500."""

    def once(
        self,
        account: Account,
        shape: Version,
        path: str,
        form: bytes,
        idempotency_key: str,
        *,
        fails: bool = False,
    ) -> bytes:
        """The answer to a POST; for a key that was used before, the answer that was given then.

        `fails`: it is carried out, and answered 500 all the same.
        """
        key = (account.account_id, account.live_mode, idempotency_key)
        if idempotency_key and key in self._answers:
            asked_path, asked_form, answer = self._answers[key]
            if (asked_path, asked_form) != (path, form):
                raise RefusedError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                    kind="idempotency_error",
                )
            if answer is None:
                raise _failed(repeated=True)
            return answer
        if path in CREATED:
            answer = CREATED[path](account, shape, form)
        else:
            answer = _change_customer(account, shape, path.removeprefix(_CUSTOMERS).strip("/"), form)
        if idempotency_key:
            self._answers[key] = (path, form, None if fails else answer)
        if fails:
            raise _failed()
        return answer


def _failed(*, repeated: bool = False) -> RefusedError:
    headers = (("idempotent-replayed", "true"),) if repeated else ()
    return RefusedError(500, "An unknown error occurred.", kind="api_error", headers=headers)


def _create_customer(account: Account, shape: Version, form: bytes) -> bytes:
    fields, metadata = _read(form)
    customer = account.clients.create(
        fields.get("name"),
        fields.get("email"),
        description=fields.get("description"),
        metadata=metadata,
        payment_method=None,
    )
    return msgspec.json.encode(shapes.render(customer, shape, account))


def _change_customer(account: Account, shape: Version, customer_id: str, form: bytes) -> bytes:
    fields, metadata = _read(form)
    customer = account.find(customer_id)
    if not isinstance(customer, Customer) or customer.deleted_at is not None:
        raise RefusedError(404, f"No such customer: '{customer_id}'", code="resource_missing", param="id")
    kept = customer.metadata.keys() - {key for key, value in metadata.items() if not value}
    if len(kept | {key for key, value in metadata.items() if value}) > METADATA_KEYS_MAX:
        raise RefusedError(400, "You can have up to 50 metadata keys.", param="metadata")
    account.clients.set_fields(
        customer,
        {name: value or None for name, value in fields.items()},
        {key: value or None for key, value in metadata.items()},
    )
    return msgspec.json.encode(shapes.render(customer, shape, account))


def _read(form: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The texts and the metadata of a request."""
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
    return fields, metadata


CREATED: Mapping[str, Callable[[Account, Version, bytes], bytes]] = {
    "/v1/customers": _create_customer,
    "/v1/billing/meter_events": count_meter_event,
    "/v1/checkout/sessions": open_session,
    "/v1/billing_portal/sessions": open_portal,
}
"""What can be created, by path."""
