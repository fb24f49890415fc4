"""Homes for embedded servers, and which files of this directory are for this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.clean import throwaway_home
from tests.ports import reserve_ports

# What only root needs is not to be had by others.
collect_ignore = [] if os.geteuid() == 0 else ["test_servers_as_root.py"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A claimed home, removed afterwards."""
    with throwaway_home() as home:
        reserve_ports(home)
        yield home
