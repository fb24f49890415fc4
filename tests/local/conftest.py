"""Homes for embedded servers, and which files of this directory are for this machine."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.clean import remove_home, throwaway_home
from tests.ports import reserve_ports

# What only root needs is not to be had by others.
collect_ignore = [] if os.geteuid() == 0 else ["test_servers_as_root.py"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A claimed home, removed afterwards."""
    with throwaway_home() as home:
        reserve_ports(home)
        yield home


@pytest.fixture
def unclaimed_home() -> Iterator[Path]:
    """A place for a home that another process claims, removed afterwards."""
    parent = Path(tempfile.mkdtemp(prefix="subledger-unclaimed-"))
    yield parent / "home"
    remove_home(parent / "home")
    parent.rmdir()
