"""`subledger up`: the whole system on this machine."""

import os
from typing import Annotated

import typer

from cli.errors import CommandError
from runtime.env_file import with_env_file


def up(
    customers: Annotated[
        int | None, typer.Option(min=1, help="How many customers the sandbox account grows to.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of the sandbox account's random choices.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0, help="Seconds of the sandbox account's time per second.")
    ] = None,
) -> None:
    """Run the whole system here until Ctrl-C.

    Uses DATABASE_URL, REDIS_URL and STRIPE_* if they are set, or in .env, and starts a Postgres, a Valkey and a
    sandbox account if they are not. Data and logs are kept in .subledger/. The console is at the address that is
    shown: log in with the token in .subledger/admin.token, or with ADMIN_TOKEN if it is set.
    """
    # Deployments have no use for it, and so they install nothing that only it needs.
    try:
        from local.home import ServerError
        from local.up import UpError, UpOptions, run_up
    except ModuleNotFoundError as missing:
        if missing.name != "psutil":
            raise
        raise CommandError(
            "`subledger up` needs the extra `embedded`: run make setup in a checkout, or install subledger[embedded]"
        ) from None
    try:
        run_up(with_env_file(os.environ), UpOptions(customers=customers, seed=seed, speed=speed))
    except (ServerError, UpError) as error:
        raise CommandError(str(error)) from error
