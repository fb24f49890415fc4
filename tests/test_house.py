"""The house itself: the lock, the layers, and that its pages agree with each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from runtime.settings import Settings
from tests.places import PYPROJECT, ROOMS, ROOT

LOCK = (ROOT / "requirements.lock").read_text()
CLOCKS_AND_IO = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "time"}


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_lock_has_every_requirement_with_hashes() -> None:
    """What pyproject.toml asks for is pinned, and every pin can be checked when it is installed."""
    pins = re.findall(r"^([a-z0-9._-]+)==\S+(?: ;[^\\\n]*)? \\\n    --hash=sha256:", LOCK, re.MULTILINE)
    assert len(re.findall(r"^[a-z0-9]", LOCK, re.MULTILINE)) == len(pins), "a line without hashes"
    asked = [
        *PYPROJECT["project"]["dependencies"],
        *PYPROJECT["project"]["optional-dependencies"]["embedded"],
        *PYPROJECT["dependency-groups"]["dev"],
        *PYPROJECT["build-system"]["requires"],
    ]
    assert set(map(name_of, asked)) <= set(pins)


def test_lock_names_no_place() -> None:
    """Where packages come from is the machine's own business: pip's configuration says it."""
    assert "://" not in LOCK
    assert "--index-url" not in LOCK


def test_billing_rules_need_only_the_standard_library() -> None:
    """The rules about money can be read, run and trusted on their own: no package, no clock, no I/O."""
    imported = set()
    for path in (ROOT / "billing").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module or "")
    ours = {name for name in imported if name == "billing" or name.startswith("billing.")}
    assert imported, "no module was read"
    rooms = {name.split(".")[0] for name in imported - ours}
    assert set() == rooms - sys.stdlib_module_names
    assert set() == rooms & CLOCKS_AND_IO


def test_no_room_for_odds_and_ends() -> None:
    """A module is named for what it holds."""
    names = {path.stem for room in ROOMS for path in room.rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def test_make_help_lists_every_command() -> None:
    """A target that a person may call says what it does."""
    done = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT)
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert phony[1].split() == re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)


def test_example_environment_names_what_the_settings_read() -> None:
    """`.env.example` is the page of all variables."""
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    seen: set[str] = set()

    class Watched(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            seen.add(name)
            return super().get(name, default)

    Settings.from_env(Watched(DATABASE_URL="postgresql://h/d", REDIS_URL="redis://h"))
    assert seen == example


def test_procfile_runs_commands_that_exist() -> None:
    """A deployment by the Procfile migrates, and starts the two kinds of processes."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert ["release: subledger migrate", "web: subledger web", "worker: subledger worker"] == lines
