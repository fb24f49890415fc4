"""Our endpoint at Stripe: registered or repaired, and its signing secret handed over (`attach`, `doctor --fix`)."""

import os
from pathlib import Path

from cli.errors import CommandError
from cli.event_types import EVENT_TYPES, is_needed
from cli.terminal import say
from runtime.stripe_api import API_VERSION, StripeApi, StripeError, StripeRefused
from runtime.webhook_endpoints import list_endpoints, register_endpoint, repair_endpoint


async def settle_endpoint(stripe: StripeApi, url: str) -> tuple[str, str | None]:
    """Have an endpoint at this address send exactly our types; how it is, and the secret of a new one.

    Raises CommandError with what is to be done by hand if the key may not, or Stripe does not.
    """
    try:
        endpoints = await list_endpoints(stripe)
    except StripeRefused as refused:
        if refused.status != 403:
            raise CommandError(f"Stripe refuses to list endpoints: {refused}") from None
        say(f"the key may not read webhook endpoints. {by_hand(url)}")
        return "unknown", None
    except StripeError as error:
        raise CommandError(f"Stripe gave no list of endpoints: {error}") from None
    ours = next((each for each in endpoints if each.url == url), None)
    try:
        if ours is None:
            made = await register_endpoint(stripe, url=url, event_types=EVENT_TYPES, api_version=API_VERSION)
            return "registered", made.secret
        if ours.status == "enabled" and set(ours.enabled_events) == set(EVENT_TYPES):
            return "right", None
        await repair_endpoint(stripe, ours, event_types=EVENT_TYPES)
    except StripeRefused as refused:
        if refused.status not in (401, 403):
            raise CommandError(f"Stripe refuses the endpoint: {refused}") from None
        if (
            ours is not None
            and ours.status == "enabled"
            and not any(map(is_needed, ours.lacking(EVENT_TYPES)))
        ):
            say(
                f"the key may not change webhook endpoints, and this one sends what records need. {by_hand(url)}"
            )
            return "right", None
        raise CommandError(f"the key may not write webhook endpoints. {by_hand(url)}") from None
    except StripeError as error:
        raise CommandError(f"Stripe did not take the endpoint: {error}") from None
    return "repaired", None


def by_hand(url: str) -> str:
    """How somebody whose own key may write does it."""
    types = " ".join(f"-d 'enabled_events[]={each}'" for each in EVENT_TYPES)
    return (
        "Allow it to write webhook endpoints and attach again; or see that in Stripe's dashboard the endpoint "
        f"{url} is enabled with exactly the types of `subledger events types`; or run:\n"
        f"stripe webhook_endpoints create -d url={url} -d api_version={API_VERSION} {types}"
    )


def hand_over(secret: str | None, path: Path | None) -> str | None:
    """Write the secret into this new file, which only its owner may read; returns what is left to be shown: all of it
    if no file is named, or if it cannot be written, since Stripe says it only once.
    """
    if secret is None or path is None:
        return secret
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
    except OSError as error:
        say(f"the signing secret cannot be written into {path} ({error.strerror}): it is shown instead")
        return secret
    say(f"the signing secret is in {path}: set STRIPE_WEBHOOK_SECRET_FILE to it, and restart web")
    return None
