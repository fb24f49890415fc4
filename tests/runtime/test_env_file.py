"""The file `.env`: read by us and not by a shell, and never in part."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.env_file import with_env_file
from runtime.settings import SECRETS, Settings, SettingsError
from tests.places import ROOT


def read(folder: Path, content: str | bytes, **environ: str) -> dict[str, str]:
    """What a command sees that starts with this file and this environment."""
    path = folder / ".env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return dict(with_env_file(environ, path))


URL = "postgresql://app:p%40ss@db.example.com/billing?sslmode=require&connect_timeout=5"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=value", "value"),
        ("export X=value", "value"),
        ("export\tX = value ", "value"),
        ("  X  =  two words  ", "two words"),
        ("X=", ""),
        ("X= # nothing", ""),
        ("X=''", ""),
        (f"X={URL}", URL),
        (f'X="{URL}"', URL),
        (f"X='{URL}' # the database", URL),
        ("X=a&b;c|d>e<f(g)*?~!{h,i}", "a&b;c|d>e<f(g)*?~!{h,i}"),
        ("X=$HOME`id`$(id)${Y}", "$HOME`id`$(id)${Y}"),
        ('X="$HOME `id` $(id)"', "$HOME `id` $(id)"),
        ("X=a#b", "a#b"),
        ("X=#b", "#b"),
        ("X=a #b", "a"),
        ("X=a\t# b", "a"),
        ("X='a #b'", "a #b"),
        ('X="a #b"  # c', "a #b"),
        ("X=it's", "it's"),
        ('X=5"', '5"'),
        ('X="it\'s"', "it's"),
        ("X='say \"a\"'", 'say "a"'),
        ('X="say \\"a\\""', 'say "a"'),
        ('X="a\\\\b\\$c\\`d\\ne"', "a\\b$c`d\\ne"),
        ("X='a\\b'", "a\\b"),
        ("X=a\\b", "a\\b"),
        ("X=a=b==", "a=b=="),
        ("X=é€", "é€"),
        ("Y=1\nX=1\r\nX=2\r\n\r\n# X=3", "2"),
        ("\ufeffX=value", "value"),
    ],
)
def test_line(tmp_path: Path, line: str, value: str) -> None:
    """Each way to write a value, and what it says."""
    assert value == read(tmp_path, line)["X"]


@pytest.mark.parametrize(
    ("content", "line", "remedy"),
    [
        ("A=1\n\n# c\nsecret", 4, "write NAME=value"),
        ("secret-name=secret", 1, "write NAME=value"),
        ("1SECRET=secret", 1, "write NAME=value"),
        ("export secret", 1, "write NAME=value"),
        ("unset secret", 1, "write NAME=value"),
        ("=secret", 1, "write NAME=value"),
        ("X='secret", 1, "close the quote"),
        ('X="secret', 1, "close the quote"),
        ('X="secret\nY=secret"', 1, "close the quote"),
        ('X="secret\\"', 1, "close the quote"),
        ("X='secret'secret", 1, "close the quote"),
        ('A=1\nX="secret" "secret"', 2, "close the quote"),
        ("X='it's secret'", 1, "close the quote"),
        ("X=secret\x00", 1, "control character"),
        ("X=sec\rret", 1, "control character"),
        ("X='sec\x1bret'", 1, "control character"),
        (b"A=1\nX=secret\xff", 2, "UTF-8"),
    ],
)
def test_unreadable_line_is_refused(tmp_path: Path, content: str | bytes, line: int, remedy: str) -> None:
    """With the file, the line's number and what to do, and without what the line says: it may be a secret."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, content)
    (problem,) = caught.value.problems[:1]
    assert problem.startswith(f"{tmp_path / '.env'}, line {line}: ")
    assert remedy in problem
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")


def test_all_unreadable_lines_at_once(tmp_path: Path) -> None:
    """One start tells them all."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "a\nX=1\nb\n")
    assert ["1", "3"] == [problem.split("line ")[1][0] for problem in caught.value.problems]


def test_the_environment_wins(tmp_path: Path) -> None:
    """Over the file, except where it is empty, which counts as absent; other variables of ours stay."""
    seen = read(tmp_path, "A=file\nB=file\nC=file", A="process", B=" ", D="process")
    assert {"A": "process", "B": "file", "C": "file", "D": "process"} == seen


def test_no_file(tmp_path: Path) -> None:
    """The environment alone; also where `.env` is a directory, as some keep a virtual environment there."""
    assert {"A": "1"} == with_env_file({"A": "1"}, tmp_path / ".env")
    (tmp_path / ".env").mkdir()
    assert {"A": "1"} == with_env_file({"A": "1"}, tmp_path / ".env")


def test_secrets_in_files_of_their_own(tmp_path: Path) -> None:
    """NAME_FILE stands for NAME with the file's content, in the environment and in `.env`; NAME itself wins."""
    (tmp_path / "key").write_text("rk_test_from_file\n")
    (tmp_path / "empty").write_text("\n")
    files = {f"{name}_FILE": str(tmp_path / "key") for name in SECRETS}
    assert dict.fromkeys(SECRETS, "rk_test_from_file") == {
        name: value for name, value in read(tmp_path, "", **files).items() if name in SECRETS
    }
    lines = f"STRIPE_API_KEY_FILE={tmp_path / 'key'}\nADMIN_TOKEN_FILE={tmp_path / 'key'}"
    seen = read(tmp_path, lines, ADMIN_TOKEN="given", REDIS_URL_FILE=str(tmp_path / "empty"))
    assert ("rk_test_from_file", "given", "") == tuple(
        seen[name] for name in ("STRIPE_API_KEY", "ADMIN_TOKEN", "REDIS_URL")
    )
    both = read(tmp_path, "", ADMIN_TOKEN="given", ADMIN_TOKEN_FILE=str(tmp_path / "key"))
    assert "given" == both["ADMIN_TOKEN"]
    # Only secrets: nothing else of ours is worth a file, and other programs have such variables.
    assert "PORT" not in read(tmp_path, "", PORT_FILE=str(tmp_path / "key"))


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"rk_test_1\nrk_test_2\n", "is not one line"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 70_000, "is not one line"),
    ],
)
def test_secret_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, remedy: str) -> None:
    """It is refused with the variable, the path and what to do, and without what the file says."""
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        with_env_file({"STRIPE_API_KEY_FILE": str(tmp_path / "key")}, tmp_path / ".env")
    (problem,) = caught.value.problems
    assert problem.startswith(f"STRIPE_API_KEY_FILE: {tmp_path / 'key'} ")
    assert remedy in problem
    assert "rk_test" not in problem


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not passed over: settings that somebody wrote would be missing."""

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SettingsError, match=r"\.env cannot be read \(Permission denied\)"):
        with_env_file({}, tmp_path / ".env")


def test_example_can_be_read() -> None:
    """What a newcomer copies is readable, and says nothing that would keep `make up` from its own servers."""
    seen = with_env_file({}, ROOT / ".env.example")
    assert {"DATABASE_URL", "STRIPE_API_KEY", "PORT"} <= seen.keys()
    # `make up` has its own: its sandbox account soon forgets events.
    assert not seen["GAP_FILL_SECONDS"]
    needed = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h"}
    assert Settings.from_env(needed) == Settings.from_env({**seen, **needed})


values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(value=values)
def test_any_value_can_be_written(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """In double quotes, with a backslash before quotes and backslashes, every text of one line can be written."""
    written = value.replace("\\", "\\\\").replace('"', '\\"')
    assert value == read(tmp_path_factory.mktemp("env"), f'X="{written}"')["X"]
