"""The file `.env` of the working directory: settings for whoever starts our commands by hand.

A line is `NAME=value`, with `export` before it or a comment after it if you like:

    DATABASE_URL=postgresql://app:secret@db.example.com/billing?sslmode=require&connect_timeout=5
    export ADMIN_TOKEN='with # and blanks'   # a comment

The shell has no part in it: `&`, `$` and the like are characters as any other, and nothing is expanded or run. A value
without quotes ends before a blank and `#`. In single quotes everything is as it stands; in double quotes a backslash
takes the next `"`, `\\`, `$` or backquote as it stands. A value ends on its line. Of two lines with one name the later
counts.

Libraries that read such files skip a line that they cannot read; we refuse it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from runtime.settings import SettingsError

ENV_FILE = Path(".env")

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

    Raises SettingsError for a file or line that cannot be read; the message shows nothing of what the line says.
    """
    given = {name: value for name, value in environ.items() if value.strip()}
    return {**environ, **_read(path), **given}


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
