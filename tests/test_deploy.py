"""The files of a deployment: as true as a machine without Docker, and without root, can see."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.app import SUMMARIES
from runtime.settings import SECRETS
from tests.places import ROOMS, ROOT
from webhooks.connections import CONNECTIONS_MAX, backlog

VARIABLES = frozenset(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
SOCKETS = sorted((ROOT / "deploy/systemd").glob("*.socket"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def of(word: str, within: list[tuple[str, str]]) -> list[str]:
    return [rest for each, rest in within if each == word]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        found[-1].append((word, rest))
    return found


def context() -> list[Path]:
    """What .dockerignore leaves of this directory: it takes everything out, then lets names in again."""
    first, *others = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert "*" == first
    return [ROOT / line[1:] for line in others if line.startswith("!")]


def is_ours(arguments: list[str]) -> bool:
    """Whether these arguments run a command of ours."""
    program, command, *_ = [*arguments, ""]
    return program == "subledger" and command in SUMMARIES


def test_image_is_built_in_two_stages_and_runs_as_nobody_special() -> None:
    """Pins are checked by their hashes; what builds it is not in it; it is not root, and knows whether it is well."""
    build, final = stages()
    (pins, *_) = [rest for rest in of("RUN", build) if "$REQUIREMENTS" in rest]
    assert "--require-hashes" in pins
    assert ["REQUIREMENTS=requirements.txt"] == of("ARG", build)
    assert ["requirements.txt requirements-traces.txt /src/"] == of("COPY", build)[:1]
    assert ["--from=build"] == [copied.split()[0] for copied in of("COPY", final)]
    (user,) = of("USER", final)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert [f"{settings}" for settings in of("CMD", final)] == ['["subledger", "web"]']
    (health,) = of("HEALTHCHECK", final)
    assert "/healthz" in health
    # No secret is baked in, not even an empty one that somebody may fill.
    said = " ".join(rest for word, rest in instructions() if word in ("ENV", "ARG"))
    assert [] == [name for name in SECRETS if name in said]
    # Pinned to the version of Python that is tested.
    assert all(rest.startswith("python:3.11-") for rest in of("FROM", instructions()))


def test_health_check_of_the_image_is_python() -> None:
    """What it runs compiles; an image for Python has no curl."""
    (health,) = of("HEALTHCHECK", stages()[-1])
    program, option, code = eval(health[health.index("[") :], {})  # noqa: S307 - our own file
    assert ("python", "-c") == (program, option)
    compile(code, "HEALTHCHECK", "exec")


def test_image_has_all_rooms_and_nothing_of_a_developer(tmp_path: Path) -> None:
    """The wheel can be built from what .dockerignore lets in, and from it alone, and has every file of every room."""
    for path in context():
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    (built,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())
    assert {str(path.relative_to(ROOT)) for room in ROOMS for path in room.rglob("*.py")} <= names
    assert not {".env", ".subledger", ".git", "tests", "docs"} & {path.name for path in context()}


def test_compose_starts_what_a_deployment_needs() -> None:
    """Postgres and Valkey first, then the migration, then web and worker; only web has a port, on this machine."""
    services = COMPOSE["services"]
    assert {"postgres", "valkey", "migrate", "web", "worker"} == services.keys()
    for name in ("migrate", "web", "worker"):
        assert is_ours(services[name]["command"]), name
        assert name == services[name]["command"][1]
    assert "service_healthy" == services["migrate"]["depends_on"]["postgres"]["condition"]
    for name in ("web", "worker"):
        assert "service_completed_successfully" == services[name]["depends_on"]["migrate"]["condition"]
    ports = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert {"web": ["127.0.0.1:${PORT:-8000}:8000"]} == ports
    (volume,) = services["postgres"]["volumes"]
    assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_compose_passes_on_every_setting() -> None:
    """No variable of ours is lost between `.env` and the processes; they cannot start without a signing secret."""
    environment = COMPOSE["services"]["web"]["environment"]
    # The port inside is the image's own.
    assert environment.keys() | {"PORT"} == VARIABLES
    assert environment == COMPOSE["services"]["worker"]["environment"]
    assert environment["STRIPE_WEBHOOK_SECRET"].startswith("${STRIPE_WEBHOOK_SECRET:?")
    assert environment["WORKER_PORT"] in str(COMPOSE["services"]["worker"]["healthcheck"]["test"])
    for name, value in environment.items():
        if name not in ("DATABASE_URL", "REDIS_URL", "STRIPE_WEBHOOK_SECRET", "WORKER_PORT"):
            assert f"${{{name}:-}}" == value


def test_compose_gives_processes_no_more_than_they_need() -> None:
    """They write nothing, have no capabilities and gain none."""
    for name in ("migrate", "web", "worker"):
        service = COMPOSE["services"][name]
        assert (True, ["ALL"], ["no-new-privileges:true"]) == (
            service["read_only"],
            service["cap_drop"],
            service["security_opt"],
        )
        assert ["/tmp"] == service["tmpfs"]  # noqa: S108 - a place in the container


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_units_run_commands_and_hand_over_secrets(unit: Path) -> None:
    """Each runs a command of ours as a user of its own, and each secret that it loads reaches its variable."""
    text = unit.read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    program, *arguments = shlex.split(start)
    assert "/opt/subledger/bin/subledger" == program
    assert is_ours(["subledger", *arguments])
    assert "User=subledger" in text.splitlines()
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", text, re.MULTILINE))
    assert loaded == {name: f"/etc/subledger/{name}" for name in loaded}
    passed = dict(re.findall(r"([A-Z_]+)_FILE=%d/(\w+)", text))
    assert set(loaded) == set(passed.values())
    assert passed == {name.upper(): name for name in loaded}
    assert set(passed) <= set(SECRETS)
    # Web and worker have /metrics, which wants the token.
    assert ("subledger-migrate" in unit.name) == ("ADMIN_TOKEN" not in passed)


def test_socket_unit_listens_where_the_proxy_looks() -> None:
    """At the address of docs/proxy.md, with as many waiting connections as web itself lets wait; web wants it."""
    text = (ROOT / "deploy/systemd/subledger-web.socket").read_text()
    said = dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))
    assert f"server {said['ListenStream']};" in (ROOT / "docs/proxy.md").read_text()
    assert backlog(CONNECTIONS_MAX) == int(said["Backlog"])
    web = (ROOT / "deploy/systemd/subledger-web.service").read_text()
    assert 2 == len(re.findall(r"^(?:Wants|After)=.*\bsubledger-web\.socket$", web, re.MULTILINE))


def test_units_are_verified_by_systemd(tmp_path: Path) -> None:
    """systemd knows every directive and finds no fault; this machine has other programs and users."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/subledger/bin/subledger", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)
    for socket in SOCKETS:
        shutil.copy(socket, tmp_path)
    done = subprocess.run(
        [program, "verify", "--man=no", *map(str, sorted(tmp_path.glob("*.service")))],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": str(tmp_path) + ":"},
    )
    ours = [line for line in done.stderr.splitlines() if "subledger" in line]
    assert (0, []) == (done.returncode, ours), done.stderr


def test_alert_rules_are_read_by_prometheus() -> None:
    """It knows every function and every field."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here")
    rules = ROOT / "deploy/prometheus/alerts.yml"
    done = subprocess.run([program, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_deploy_page_names_every_file_of_a_deployment() -> None:
    """Who reads docs/deploy.md finds each of them, and all secrets that may be files."""
    page = (ROOT / "docs/deploy.md").read_text()
    files = ("Dockerfile", "compose.yaml", "Procfile", "deploy/systemd", "deploy/postgres/roles.sql")
    for name in (*files, *SECRETS):
        assert name in page, name
