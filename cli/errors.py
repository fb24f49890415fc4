"""Failures that a command expects: one message that says what to do, and no traceback."""

import errno

from db.connection import PostgresAway, PostgresFails, unfit_because
from db.migrate import MigrationError
from runtime.settings import SettingsError

_OUTPUT_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing to a file says, and no connection does."""


class CommandError(Exception):
    """The command cannot do what was asked; the message says why, and what to do."""


def message_of(error: Exception) -> str | None:
    """The message for the user; None for an unexpected error."""
    if isinstance(error, (CommandError, MigrationError, SettingsError)):
        return str(error)
    if because := unfit_because(error):
        return because
    if isinstance(error, OSError) and error.errno in _OUTPUT_FULL:
        return f"what it prints cannot be written: {error.strerror}"
    if isinstance(error, PostgresAway):
        return f"Postgres cannot be reached ({type(error).__name__}: {error}): check DATABASE_URL"
    if isinstance(error, PostgresFails):
        return f"Postgres fails ({type(error).__name__}: {error}): its own log says more"
    return None
