"""Clusters of tests that stop, kill or restore their server: copies of one that was made and migrated before."""

import shutil
import subprocess
from pathlib import Path

from local.postgres import OUTSIDE_DIRECTORIES, _postgres_place, _server_account


def lay_cluster(pattern: Path, home: Path) -> None:
    """Give a claimed home that has no cluster yet that of another home, whose server is stopped."""
    shutil.copy2(pattern / "postgres.password", home / "postgres.password")
    place = _postgres_place(home, _server_account(), OUTSIDE_DIRECTORIES)
    # With its owner, and as it is: a copy by Python takes several times as long.
    subprocess.run(["cp", "-a", f"{(pattern / 'postgres').resolve()}/.", place], check=True)
