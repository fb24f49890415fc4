"""Removing homes: that of `make clean`, and the throwaway homes of tests and measurements.

`make clean` runs `python -m local.clean HOME`.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from local.home import CLAIM_TIMEOUT_SECONDS, NoHomeError, ServerError, claim_home, remove_claimed_home
from local.postgres import outside_place
from local.processes import stop_leftovers

THROWAWAY_PREFIX = "subledger-test-"
NASCENT_PREFIX = "subledger-new-"


def remove_home(home: Path, *, timeout_seconds: float = CLAIM_TIMEOUT_SECONDS) -> None:
    """Remove the home with all its data, here and outside; a missing one is no error.

    Raises HomeInUseError while another process holds it, ServerError when it belongs to another user.
    """
    with (
        contextlib.suppress(NoHomeError),
        claim_home(home, create=False, timeout_seconds=timeout_seconds) as claimed,
    ):
        _remove(claimed)


@contextlib.contextmanager
def throwaway_home(parent: Path | None = None) -> Iterator[Path]:
    """A claimed home for one run, removed at its end; the homes of killed runs are removed first.

    It is made in `parent`, or where temporary files go.
    """
    for stale in (parent or Path(tempfile.gettempdir())).glob(f"{THROWAWAY_PREFIX}*"):
        with contextlib.suppress(ServerError):
            remove_home(stale, timeout_seconds=0)
    nascent = Path(tempfile.mkdtemp(prefix=NASCENT_PREFIX, dir=parent))
    home = nascent.with_name(nascent.name.replace(NASCENT_PREFIX, THROWAWAY_PREFIX))
    with claim_home(nascent):
        # Only a home that is already locked has the name by which stale ones are found.
        nascent.rename(home)
        try:
            yield home
        finally:
            # Still locked: released first, it would look stale to every other run.
            _remove(home)


def _remove(home: Path) -> None:
    stop_leftovers(home)
    outside = outside_place(home)
    if outside is not None:
        stop_leftovers(outside)
        shutil.rmtree(outside)
    remove_claimed_home(home)


if __name__ == "__main__":
    try:
        remove_home(Path(sys.argv[1]))
    except ServerError as error:
        sys.exit(f"{error}: stop it first")
