"""The command line: which commands there are, and how a command that fails ends.

Each command lives in the module of its name (`subledger audit` is `cli.audit.audit`), which is imported when the
command runs. The list of commands needs none of them.
"""

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

SUMMARIES = {
    "up": "Run the whole system here until Ctrl-C.",
    "migrate": "Bring the database to the newest schema.",
    "web": "Receive webhooks: the process that Stripe posts to.",
    "worker": "Apply events, confirm with Stripe, derive records.",
    "listen": "Follow an account without webhooks, and show its events.",
    "status": "How far the records are behind, who works, and what to fix.",
    "customer": "One customer's record and timeline, and why it is exact or not.",
    "usage": "Show a customer's metered usage and expected charge.",
    "attach": "Register the endpoint, backfill, audit, and say whether all is exact.",
    "backfill": "Read an account from its beginning.",
    "audit": "Compare the database with Stripe.",
    "rebuild": "Derive every record again.",
    "forget": "Erase a customer's personal data.",
    "events": "List and show received events, and try them again.",
    "alarms": "List what an operator must see, and clear it.",
    "psql": "Open the database with psql, or run one statement.",
    "sandbox": "Run a simulated Stripe account for tests in any language.",
    "doctor": "Look at everything around us, and say what is wrong and what to do.",
}
"""Each command with the line that `subledger --help` has for it, in this order."""
GROUPS = {"events", "alarms", "backfill"}
"""Those that have commands of their own, in the `app` of their module."""


class LazyCommand(TyperCommand):
    """A command, or a group of them, that is imported when its arguments are parsed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, short_help=SUMMARIES[name])
        self._module = f"cli.{name}"

    def load(self) -> Any:
        """The command itself."""
        module = importlib.import_module(self._module)
        if self.name in GROUPS:
            return typer.main.get_command(module.app)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(self.name)(getattr(module, self.name or ""))
        return typer.main.get_command(alone)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself: what it parses, invokes and completes is its own."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


class Commands(TyperGroup):
    """The commands of `SUMMARIES`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in SUMMARIES:
            self.add_command(LazyCommand(name))


app = typer.Typer(
    name="subledger",
    cls=Commands,
    help="Keeps customer records right about money: Stripe webhooks in, one row per customer out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # otherwise help and usage errors import rich
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command that the arguments name; exits with 2 when they are wrong, with 1 when the command fails."""
    try:
        # As UTF-8, whatever the locale is: Python would hand on what others have as halves of surrogate pairs.
        sys.argv[1:] = [os.fsencode(each).decode() for each in sys.argv[1:]]
    except UnicodeDecodeError:
        typer.echo("subledger: an argument is not UTF-8", err=True)
        sys.exit(2)
    try:
        app(prog_name="subledger")
    except Exception as error:
        from cli.errors import message_of

        message = message_of(error)
        if message is None:
            raise
        typer.echo(f"subledger: {message}", err=True)
        sys.exit(1)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"subledger {version('subledger')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass
