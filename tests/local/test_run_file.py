"""How another terminal finds what runs here."""

import stat
from pathlib import Path

from local.home import claim_home
from local.run_file import RunningSystem, announce, effective_environment, running_system, withdraw

SYSTEM = RunningSystem(
    pid=1, url="http://127.0.0.1:8000", environment={"DATABASE_URL": "postgresql://u:pa55word@h/d"}
)


def test_running_system_is_found_while_it_runs(tmp_path: Path) -> None:
    """What was announced is found as long as the home is held; a note left by a killed process is not believed."""
    with claim_home(tmp_path) as home:
        assert running_system(home) is None
        announce(home, SYSTEM)
        assert 0o600 == stat.S_IMODE((home / "run.json").stat().st_mode)
        assert SYSTEM == running_system(home)
    assert running_system(tmp_path) is None
    with claim_home(tmp_path) as home:
        announce(home, SYSTEM)
        withdraw(home)
        assert running_system(home) is None


def test_a_given_database_goes_before_the_running_one(tmp_path: Path) -> None:
    """Only a command without a DATABASE_URL uses the database that runs here."""
    with claim_home(tmp_path) as home:
        announce(home, SYSTEM)
        assert SYSTEM.environment | {"A": "1"} == effective_environment({"A": "1", "DATABASE_URL": " "}, home)
        given = {"DATABASE_URL": "postgresql://elsewhere/d"}
        assert given == effective_environment(given, home)
    assert {} == effective_environment({}, tmp_path)


def test_repr_shows_no_password() -> None:
    """It may end up in a traceback."""
    assert "pa55word" not in repr(SYSTEM)
