"""The file by which the other commands find the system that `subledger up` runs here, when no DATABASE_URL is set."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.home import is_claimed

HOME = Path(".subledger")


@dataclass(frozen=True, kw_only=True)
class RunningSystem:
    """A system that runs here, and the environment that its processes share."""

    pid: int
    url: str
    environment: dict[str, str] = field(repr=False)


def announce(home: Path, system: RunningSystem) -> None:
    """Write the file, readable by us alone: it contains passwords."""
    path = home / "run.json"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(system), indent=2))


def withdraw(home: Path) -> None:
    """Remove the file."""
    (home / "run.json").unlink(missing_ok=True)


def running_system(home: Path = HOME) -> RunningSystem | None:
    """The system that runs here now. A killed `up` leaves the file behind but no lock, so it does not count."""
    try:
        text = (home / "run.json").read_text()
    except (FileNotFoundError, PermissionError):
        return None
    if not is_claimed(home):
        return None
    return RunningSystem(**json.loads(text))


def effective_environment(environ: Mapping[str, str], home: Path = HOME) -> Mapping[str, str]:
    """The environment of a command: as given, or, if it names no database, with that of the system running here."""
    if environ.get("DATABASE_URL", "").strip():
        return environ
    system = running_system(home)
    return environ if system is None else {**environ, **system.environment}
