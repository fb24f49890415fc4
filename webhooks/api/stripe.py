"""What the API asks of Stripe while a request waits: whether a customer exists, to create one, and links to pages.

Nothing else of the web process calls Stripe, and the route of webhooks never does.
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from billing.kinds.found import is_id_of
from db.keys import CustomerKey, Scope
from runtime.limits import web_limits_of
from runtime.logs import Complaints
from runtime.settings import Settings
from runtime.stripe_api import (
    Answer,
    StripeApi,
    StripeMissing,
    StripeNotAsked,
    StripeRefused,
    StripeUnavailable,
)
from webhooks.api.problems import AWAY, CONFLICT, NO_KEY, NOT_FOUND, STRIPE_REFUSES, Problem
from webhooks.api.turns import SharedBudget, Turns
from webhooks.database import Database

CONCURRENCY_MAX = 8
TURN_SECONDS_MAX = 5.0
"""How long a request waits for its turn: whoever asked has gone before long. One that was sent is waited for."""
WAITING_MAX = 50
"""Requests that wait for their turn; with more of them the last ones' turns would not come in time."""


KEYS_MAX = 5
"""Idempotency keys that are tried one after another."""

FIELDS_OF_CHECKOUT: Mapping[str, str] = {
    "line_items[0][price]": "price_id",
    "line_items[0][quantity]": "quantity",
    "subscription_data[trial_period_days]": "trial_days",
    "success_url": "success_url",
    "cancel_url": "cancel_url",
    "mode": "price_id",
}
"""What Stripe calls what the API takes."""
FIELDS_OF_PORTAL: Mapping[str, str] = {"return_url": "return_url"}


class Page(msgspec.Struct, kw_only=True):
    """A page at Stripe, for one customer."""

    id: str
    url: str
    expires_at: int | None = None


class SoldPrice(msgspec.Struct, kw_only=True):
    """What matters of a price to whoever sells at it."""

    class Recurring(msgspec.Struct):
        usage_type: str = "licensed"

    object: str
    period: Recurring | None = msgspec.field(name="recurring", default=None)

    @property
    def recurring(self) -> bool:
        """Whether it is subscribed to."""
        return self.period is not None

    @property
    def metered(self) -> bool:
        """Whether it is bought without a quantity."""
        return self.period is not None and self.period.usage_type == "metered"


class Customers:
    """Customers at Stripe."""

    def __init__(self, settings: Settings, database: Database, complaints: Complaints) -> None:
        self._live_mode = settings.live_mode
        self._api: StripeApi | None = None
        self._turns: Turns | None = None
        if settings.stripe_api_key is None:
            return
        limits = web_limits_of(settings.api_limits)
        if not limits.none:
            self._turns = Turns(database, limits.account, complaints)
        self._api = StripeApi(
            api_key=settings.stripe_api_key,
            api_base=settings.stripe_api_base,
            budget=SharedBudget(
                limits,
                self._turns,
                places_max=CONCURRENCY_MAX,
                wait_seconds_max=TURN_SECONDS_MAX,
                waiting_max=WAITING_MAX,
            ),
        )

    async def start(self) -> None:
        """Open what requests need; nothing is sent."""
        if self._turns is not None:
            self._turns.start()
        if self._api is not None:
            await self._api.__aenter__()

    async def close(self) -> None:
        """Close the connections."""
        if self._turns is not None:
            await self._turns.close()
        if self._api is not None:
            await self._api.__aexit__(None, None, None)

    async def require(self, key: CustomerKey) -> None:
        """Return if Stripe has this customer. Raises Problem."""
        api = self._reachable(key.scope, "body.stripe_id")
        try:
            answer = await api.read(f"/v1/customers/{quote(key.id, safe='')}", account_id=key.account_id)
        except StripeMissing:
            raise _unknown(key.id) from None
        except (StripeRefused, StripeUnavailable) as error:
            raise _failed(error, "body.stripe_id") from None
        found = _Body.of(answer.body)
        if (found.object, found.id) != ("customer", key.id):
            raise Problem(
                STRIPE_REFUSES,
                f"Stripe answered the question for {key.id} with something else",
                field="body.stripe_id",
                remedy="send the request again; if this stays, look at STRIPE_API_BASE and what is between",
            )
        if found.deleted:
            raise _unknown(key.id, "is deleted at Stripe")

    async def create(self, scope: Scope, fields: Mapping[str, str], *, idempotency_key: str) -> str:
        """The Stripe id of a new customer with these fields: the same one for the same key. Raises Problem."""
        api = self._reachable(scope, "body.create_in_stripe")
        try:
            answer = await _create(api, "/v1/customers", fields, scope.account_id, idempotency_key)
        except (StripeRefused, StripeMissing, StripeUnavailable) as error:
            raise _failed(error, "body.create_in_stripe") from None
        created = _Body.of(answer.body).id
        if not is_id_of(created, "customer"):
            raise Problem(STRIPE_REFUSES, "Stripe answered with no customer", field="body.create_in_stripe")
        return created

    async def price(self, scope: Scope, price_id: str) -> SoldPrice:
        """The price. Raises Problem, also if Stripe has none of this id."""
        api = self._reachable(scope, "body.price_id")
        try:
            answer = await api.read(f"/v1/prices/{quote(price_id, safe='')}", account_id=scope.account_id)
            price = msgspec.json.decode(answer.body, type=SoldPrice)
        except StripeMissing as missing:
            raise Problem(
                CONFLICT,
                f"Stripe refuses: {missing}",
                field="body.price_id",
                remedy="give the id of a price (price_...) of this account and mode",
            ) from None
        except (StripeRefused, StripeUnavailable) as error:
            raise _not_opened(error, right="Prices", verb="read", names={}) from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            price = SoldPrice(object="")
        if price.object != "price":
            raise _answered_otherwise("body.price_id")
        return price

    async def open_page(
        self,
        scope: Scope,
        path: str,
        fields: Mapping[str, str],
        *,
        idempotency_key: str,
        right: str,
        names: Mapping[str, str],
    ) -> Page:
        """A new page at Stripe: the same one for the same key. Raises Problem.

        `right`: what the key must be allowed to write. `names`: how the API calls what Stripe may refuse.
        """
        api = self._reachable(scope, "body")
        try:
            answer = await _create(api, path, fields, scope.account_id, idempotency_key)
            return msgspec.json.decode(answer.body, type=Page)
        except (StripeRefused, StripeMissing, StripeUnavailable) as error:
            raise _not_opened(error, right=right, verb="write", names=names) from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _answered_otherwise("body") from None

    def _reachable(self, scope: Scope, field: str) -> StripeApi:
        if self._api is None:
            raise Problem(
                NO_KEY,
                "without STRIPE_API_KEY nothing can be asked of Stripe",
                field=field,
                remedy="leave it out, or set STRIPE_API_KEY and restart",
            )
        if self._live_mode != scope.live_mode:
            raise Problem(
                NO_KEY, "the API key is of the other mode", field="query.mode", remedy="leave out mode"
            )
        return self._api


async def _create(
    api: StripeApi, path: str, fields: Mapping[str, str], account_id: str, idempotency_key: str
) -> Answer:
    """What Stripe creates for this key. An answer 5xx it repeats for 24 hours: whoever asks again after it is to get
    another one, so the request is then sent with the next key.
    """
    for number in range(1, KEYS_MAX):
        key = idempotency_key if number == 1 else f"{idempotency_key}-{number}"
        try:
            return await api.create(path, fields, account_id=account_id, idempotency_key=key)
        except StripeUnavailable as error:
            if not error.repeated:
                raise
    return await api.create(
        path, fields, account_id=account_id, idempotency_key=f"{idempotency_key}-{KEYS_MAX}"
    )


class _Body(msgspec.Struct):
    """What matters here of a customer."""

    object: str = ""
    id: str = ""
    deleted: bool = False

    @classmethod
    def of(cls, body: bytes) -> "_Body":
        try:
            return msgspec.json.decode(body, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return cls()


def _unknown(customer_id: str, what: str = "is unknown to Stripe") -> Problem:
    return Problem(
        NOT_FOUND,
        f"the customer {customer_id} {what} in this account and mode",
        field="body.stripe_id",
        remedy="give the id of a customer (cus_...), and its account and mode",
    )


def _failed(error: StripeMissing | StripeRefused | StripeUnavailable, field: str) -> Problem:
    if isinstance(error, StripeUnavailable):
        return Problem(
            AWAY,
            f"Stripe cannot be asked just now: {error}",
            field=field,
            remedy="send the request again",
            headers={"Retry-After": f"{TURN_SECONDS_MAX:.0f}"} if isinstance(error, StripeNotAsked) else None,
        )
    if isinstance(error, StripeRefused) and error.account_is_closed:
        return Problem(
            NO_KEY,
            "the API key has no access to this account",
            field="query.account",
            remedy="name an account that is connected, or leave account out",
        )
    remedy = "look at what Stripe says"
    if isinstance(error, StripeRefused) and error.status in (401, 403):
        remedy = "use a key that may read customers, and write them to create one"
    return Problem(STRIPE_REFUSES, f"Stripe refuses: {error}", field=field, remedy=remedy)


def _not_opened(
    error: StripeMissing | StripeRefused | StripeUnavailable,
    *,
    right: str,
    verb: str,
    names: Mapping[str, str],
) -> Problem:
    """Why there is no page: the key may not, or what was asked for cannot be, in Stripe's words."""
    if isinstance(error, StripeUnavailable) or (isinstance(error, StripeRefused) and error.account_is_closed):
        return _failed(error, "body")
    if isinstance(error, StripeRefused) and error.status in (401, 403):
        return Problem(
            STRIPE_REFUSES,
            f"the API key may not {verb} {right}: {error}",
            remedy=f"give the key of STRIPE_API_KEY the right to {verb} {right}",
        )
    param = error.param if isinstance(error, StripeRefused) else None
    name = names.get(param or "")
    return Problem(
        CONFLICT,
        f"Stripe refuses: {error}",
        field="body" if name is None else f"body.{name}",
        remedy="look at what Stripe says",
    )


def _answered_otherwise(field: str) -> Problem:
    return Problem(
        STRIPE_REFUSES,
        "Stripe answered with something else",
        field=field,
        remedy="send the request again; if this stays, look at STRIPE_API_BASE and what is between",
    )
