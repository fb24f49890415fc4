"""Webhook endpoints, as the API registers, changes and lists them: words alone, since `delivery` posts elsewhere."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from sandbox.account import Account
from sandbox.api.listing import cut_page
from sandbox.api.parameters import Parameters
from sandbox.refusals import RefusedError, missing_parameter, no_such, unrecognized
from sandbox.versions import Body, listing

PATH = "/v1/webhook_endpoints"
COUNT_MAX = 16
_TAKEN = frozenset({"url", "enabled_events", "api_version", "description", "connect", "disabled", "expand"})


class Endpoints:
    """The webhook endpoints of all accounts."""

    def __init__(self) -> None:
        self._by_account: dict[tuple[str, bool], list[Body]] = {}
        self._numbers = 0

    def of(self, account: Account) -> list[Body]:
        """The endpoints of an account, the newest first. Their fields may be set."""
        return self._by_account.setdefault((account.account_id, account.live_mode), [])

    def register(
        self,
        account: Account,
        *,
        url: str,
        enabled_events: Iterable[str],
        created: int,
        api_version: str | None = None,
        description: str | None = None,
    ) -> Body:
        """Add an endpoint; returns it with its secret, which is never shown again."""
        self._numbers += 1
        made: Body = {
            "id": f"we_{self._numbers:014d}",
            "object": "webhook_endpoint",
            "api_version": api_version,
            "application": None,
            "created": created,
            "description": description,
            "enabled_events": list(enabled_events),
            "livemode": account.live_mode,
            "metadata": {},
            "status": "enabled",
            "url": url,
        }
        self.of(account).insert(0, made)
        return {**made, "secret": f"whsec_{self._numbers:032d}"}

    def answer(self, method: str, path: str, account: Account, parameters: Parameters, *, now: int) -> Body:
        """The answer to a request under PATH. Raises RefusedError."""
        endpoint_id = path.removeprefix(PATH).strip("/")
        match method, endpoint_id:
            case "GET", "":
                data, has_more = cut_page(self.of(account), dict(parameters))
                return listing(PATH, data, has_more=has_more)
            case "GET", _:
                return self._find(account, endpoint_id)
            case "POST", "":
                return self._create(account, parameters, now)
            case "POST", _:
                return self._change(account, self._find(account, endpoint_id), parameters)
            case _:
                raise unrecognized(method, path)

    def _find(self, account: Account, endpoint_id: str) -> Body:
        for each in self.of(account):
            if each["id"] == endpoint_id:
                return each
        raise no_such("webhook_endpoint", endpoint_id)

    def _create(self, account: Account, parameters: Parameters, now: int) -> Body:
        fields = _checked(account, parameters)
        for name in ("url", "enabled_events"):
            if name not in fields:
                raise missing_parameter(name)
        if len(self.of(account)) >= COUNT_MAX:
            raise RefusedError(400, f"You have reached the maximum of {COUNT_MAX} test webhook endpoints.")
        return self.register(
            account,
            url=fields["url"],
            enabled_events=fields["enabled_events"],
            created=now,
            api_version=fields.get("api_version"),
            description=fields.get("description"),
        )

    def _change(self, account: Account, endpoint: Body, parameters: Parameters) -> Body:
        fields = _checked(account, parameters)
        if "disabled" in fields:
            endpoint["status"] = "disabled" if fields.pop("disabled") == "true" else "enabled"
        endpoint.update(fields)
        return endpoint


def _checked(account: Account, parameters: Parameters) -> Body:
    """The fields of a request. Raises RefusedError for what Stripe refuses."""
    fields: Body = {}
    for name, value in parameters:
        field = name.split("[")[0]
        if field not in _TAKEN:
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
        if field == "enabled_events":
            if not re.fullmatch(r"\*|[a-z_.0-9]+\.[a-z_]+", value):
                raise RefusedError(400, f"Invalid enabled_events: must be one of *, {value}", param=name)
            fields.setdefault(field, []).append(value)
        else:
            fields[field] = value
    if "url" in fields:
        parts = urlsplit(fields["url"])
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RefusedError(
                400, "Invalid URL: An explicit scheme (such as https) must be provided.", param="url"
            )
        if account.live_mode and parts.scheme != "https":
            raise RefusedError(400, "Invalid URL: Livemode URLs must begin with https.", param="url")
    return fields
