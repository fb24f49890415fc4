"""The environment as commands see it: with the file `.env` of the working directory, and with secrets that are files.

`.env` holds settings for whoever starts our commands by hand.

A line is `NAME=value`, with `export` before it or a comment after it if you like:

    DATABASE_URL=postgresql://app:secret@db.example.com/billing?sslmode=require&connect_timeout=5
    export ADMIN_TOKEN='with # and blanks'   # a comment

The shell has no part in it: `&`, `$` and the like are characters as any other, and nothing is expanded or run. A value
without quotes ends before a blank and `#`. In single quotes everything is as it stands; in double quotes a backslash
takes the next `"`, `\\`, `$` or backquote as it stands. A value ends on its line. Of two lines with one name the later
counts.

Libraries that read such files skip a line that they cannot read; we refuse it.

A secret may be a file of its own, as container engines and systemd hand it out: `STRIPE_API_KEY_FILE=/run/secrets/key`
stands for the variable STRIPE_API_KEY with the content of that file. Blanks and the line's end around it do not
count, and an empty file counts as absent.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from runtime.settings import SECRETS, SettingsError

ENV_FILE = Path(".env")
SECRET_BYTES_MAX = 64 * 1024

_LINE = re.compile(
    r"""
    (?:export[ \t]+)? (?P<name>[A-Za-z_][A-Za-z0-9_]*) [ \t]* =
    (?: [ \t]* '(?P<single>[^']*)' (?:[ \t]+\#.*|[ \t]*)
      | [ \t]* "(?P<double>(?:[^"\\]|\\.)*)" (?:[ \t]+\#.*|[ \t]*)
      | (?P<plain>(?![ \t]*['"]).*?) (?:[ \t]+\#.*|[ \t]*)
    )
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\([\"\\$`])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def with_env_file(environ: Mapping[str, str], path: Path = ENV_FILE) -> Mapping[str, str]:
    """The environment, and for each variable that it does not have, or has empty, what the file says, if there is one.

    In both, a secret's NAME_FILE stands for NAME where NAME itself is absent. Raises SettingsError for a file or line
    that cannot be read; the message shows nothing of what the line says.
    """
    problems: list[str] = []
    given = _with_secret_files({name: value for name, value in environ.items() if value.strip()}, problems)
    from_file = _with_secret_files(_read(path), problems)
    if problems:
        raise SettingsError(problems)
    return {**environ, **from_file, **given}


def _with_secret_files(variables: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The variables, with the content of each file that a secret's NAME_FILE names. What is wrong is a problem more."""
    found = dict(variables)
    for name in SECRETS:
        path = variables.get(f"{name}_FILE", "").strip()
        if not path or variables.get(name, "").strip():
            continue
        try:
            with Path(path).open("rb") as file:
                content = file.read(SECRET_BYTES_MAX + 1)
            text = content.decode("utf-8-sig").strip()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problems.append(
                f"{name}_FILE: {path} cannot be read ({reason}): name a file that this user may read"
            )
        except UnicodeDecodeError:
            problems.append(f"{name}_FILE: {path} is not UTF-8: write the secret alone into it")
        else:
            if len(content) > SECRET_BYTES_MAX or "\n" in text or _CONTROL.search(text):
                problems.append(f"{name}_FILE: {path} is not one line: write the secret alone into it")
            found[name] = text
    return found


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        return {}  # Some keep a virtual environment in a directory of this name.
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise SettingsError([f"{path}, line {number}: is not UTF-8: save the file as UTF-8"]) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            [f"{path} cannot be read ({reason}): give yourself the right, or remove it"]
        ) from None
    found = {}
    problems = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        if match is None or _CONTROL.search(content):
            problems.append(f"{path}, line {number}: {_remedy(content)}")
        elif match["double"] is not None:
            found[match["name"]] = _ESCAPED.sub(r"\1", match["double"])
        else:
            found[match["name"]] = match["single"] if match["single"] is not None else match["plain"].strip()
    if problems:
        raise SettingsError(problems)
    return found


def _remedy(content: str) -> str:
    if _CONTROL.search(content):
        return "remove the control character"
    if re.match(r"(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=", content):
        return "close the quote on the same line, with nothing after it but a comment"
    return "write NAME=value, or # before a comment"
