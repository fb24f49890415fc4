"""The command: wrong arguments are told with the usage, failures in one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

URL = "postgresql://app:pa55word@127.0.0.1:1/billing"


def subledger(directory: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty directory with nothing in its environment but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"]} | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "arguments", [["fly"], ["migrate", "--fast"], ["up", "--customers", "many"], ["web", "now"]]
)
def test_wrong_arguments_exit_2_with_usage(tmp_path: Path, arguments: list[str]) -> None:
    """Who mistypes is shown how it is written."""
    done = subledger(tmp_path, *arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert "Usage: subledger" in done.stderr


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """The first thing that a stranger types."""
    done = subledger(tmp_path, "--help")
    assert 0 == done.returncode
    for name in ("up", "migrate", "web", "worker"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["events", "--help"]])
def test_no_summary_is_cut(tmp_path: Path, arguments: list[str]) -> None:
    """Each command is told in one line that fits on a terminal of 80 columns."""
    done = subledger(tmp_path, *arguments)
    listed = done.stdout.partition("\nCommands:\n")[2].splitlines()
    assert listed
    assert [] == [line for line in listed if line.endswith("...")]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("migrate", {}, "DATABASE_URL is not set"),
        ("migrate", {"DATABASE_URL": URL}, "connection refused"),
        (
            "web",
            {"DATABASE_URL": URL, "REDIS_URL": "redis://127.0.0.1:1"},
            "STRIPE_WEBHOOK_SECRET is not set",
        ),
        (
            "web",
            {"DATABASE_URL": URL, "REDIS_URL": "http://x", "PORT": "x"},
            "REDIS_URL must start with redis://",
        ),
        ("worker", {"REDIS_URL": "redis://127.0.0.1:1"}, "DATABASE_URL is not set"),
        ("up", {"PORT": "0"}, "PORT must be a whole number"),
    ],
)
def test_failure_is_one_message_without_secrets(
    tmp_path: Path, name: str, given: dict[str, str], message: str
) -> None:
    """Exit code 1, what was wrong and nothing else: no traceback, no password."""
    done = subledger(tmp_path, name, **given)
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("subledger: ")
    assert message in done.stderr
    for never in ("Traceback", "pa55word"):
        assert never not in done.stderr
