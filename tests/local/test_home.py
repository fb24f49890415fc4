"""The lock of a home, played in the orders in which several processes may claim and remove it."""

import contextlib
import fcntl
import os
from pathlib import Path

import pytest

from local.clean import throwaway_home
from local.home import HomeInUseError, NoHomeError, claim_home, is_claimed, remove_claimed_home


def remove_while_a_claim_waits(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The next claim opens the lock file of a holder that then removes the home, before the claim gets the lock."""
    holder = contextlib.ExitStack()
    holder.enter_context(claim_home(home))
    flock = fcntl.flock

    def removed_meanwhile(lock: int, operation: int) -> None:
        monkeypatch.undo()
        remove_claimed_home(home)
        holder.close()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)


def test_claim_of_a_home_that_is_removed_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A removed lock file excludes no other process: the claim takes the lock of the home that is there now."""
    home = tmp_path / "home"
    remove_while_a_claim_waits(monkeypatch, home)
    with claim_home(home):
        assert is_claimed(home)
        with pytest.raises(HomeInUseError), claim_home(home, timeout_seconds=0):
            pass


def test_removed_home_is_not_created_for_its_removal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two that want to remove one home, the second finds none."""
    home = tmp_path / "home"
    remove_while_a_claim_waits(monkeypatch, home)
    with pytest.raises(NoHomeError), claim_home(home, create=False):
        pass
    assert not home.exists()


def test_home_that_is_claimed_during_its_removal_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that comes when the lock file is gone and the directory is not has a home of its own."""
    home = tmp_path / "home"
    other = contextlib.ExitStack()
    rmdir = Path.rmdir

    def claimed_meanwhile(path: Path) -> None:
        monkeypatch.undo()
        other.enter_context(claim_home(home))
        rmdir(path)

    with other:
        with claim_home(home):
            monkeypatch.setattr(Path, "rmdir", claimed_meanwhile)
            remove_claimed_home(home)
        assert is_claimed(home)
        assert (home / "lock").exists()


def test_throwaway_home_is_locked_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its last use and its removal it would look like one that a killed run left."""
    existed: list[bool] = []
    close = os.close

    with throwaway_home() as home:
        lock = (home / "lock").stat()

        def look_and_close(descriptor: int) -> None:
            if os.path.samestat(lock, os.fstat(descriptor)):
                existed.append(home.exists())
            close(descriptor)

        monkeypatch.setattr(os, "close", look_and_close)
    monkeypatch.undo()
    assert [False] == existed


def test_throwaway_home_in_use_is_not_swept() -> None:
    """Other runs start and end meanwhile."""
    with throwaway_home() as home:
        (home / "kept").touch()
        for _ in range(3):
            with throwaway_home():
                assert (home / "kept").exists()
    assert not home.exists()
