"""`python -m cli` again and again: a process that has imported every command, and forks for each that is to run.

Run as a script; its arguments are packages that no command is to find. Each line that it reads is a command: its
arguments, its environment, its directory, and the files for its output and its exit code. A fork does what a new
process would do, from the first line of cli/app.py's `main` to the interpreter's end; but importing the commands takes
longer than most of them run. tests/cli/test_app.py, tests/local/test_up.py, tests/test_rolling_restart.py, and a test
each of web and worker start new processes.
"""

import contextlib
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli.app import SUMMARIES, LazyCommand, main

MISSING = set(sys.argv[1:])
"""Packages that commands find no more than if they were not installed."""
LARGE = {"up", "web", "worker"}
"""Commands that are imported when the first of them is to run: most processes that run tests start none of these."""


class Missing:
    """Comes before whatever else finds modules."""

    def find_spec(self, name: str, *_: object) -> None:
        """Fail for a module that is to be missing; otherwise leave it to the others."""
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def begin(command: dict[str, Any]) -> None:
    """Be this command's process from now on."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for file, descriptor in ((os.devnull, 0), (command["out"], 1), (command["err"], 2)):
        opened = os.open(file, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(command["directory"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv = ["cli", *command["arguments"]]


def report(running: dict[int, Path]) -> None:
    """Write down the exit codes of those that have ended, as a Popen object has them."""
    for process in list(running):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = running.pop(process)
            nascent = code.with_suffix(".new")
            nascent.write_text(str(os.waitstatus_to_exitcode(status)))
            nascent.rename(code)


def import_commands(names: Iterable[str]) -> None:
    """Import all that these commands need before they do anything."""
    for name in sorted(names):
        # What cannot be imported without a package fails in the fork, too.
        with contextlib.suppress(ImportError) if MISSING else contextlib.nullcontext():
            LazyCommand(name).make_context(name, [], resilient_parsing=True)
    gc.collect()
    gc.freeze()


def prepare() -> None:
    """Serve until nobody is left to ask. Returns in each fork, which has a command to run."""
    sys.meta_path.insert(0, Missing())
    imported = SUMMARIES.keys() - LARGE
    import_commands(imported)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    running: dict[int, Path] = {}
    asked = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            report(running)
        if 0 not in ready:
            continue
        read = os.read(0, 65536)
        if not read:
            sys.exit()
        *lines, asked = (asked + read).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if LARGE.intersection(command["arguments"][:1]) - imported:
                import_commands(LARGE)
                imported |= LARGE
            process = os.fork()
            if not process:
                os.close(woken)
                os.close(wake)
                begin(command)
                return
            running[process] = Path(command["code"])
            nascent = Path(command["process"] + ".new")
            nascent.write_text(str(process))
            nascent.rename(command["process"])


if __name__ == "__main__":
    prepare()
    main()
