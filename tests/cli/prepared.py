"""`python -m cli` again and again: a process that has imported every command, and forks for each that is to run.

Run as a script. Each line that it reads is a command: its arguments, its environment, and the files for its output and
its exit code. A fork does what a new process would do, from the first line of cli/app.py's `main` to the interpreter's
end; but importing the commands takes longer than most of them run. tests/cli/test_app.py starts real processes.
"""

import gc
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from cli.app import SUMMARIES, LazyCommand, main

LARGE = {"up", "web", "worker"}
"""Commands that no test runs in this way."""


def begin(command: dict[str, Any]) -> None:
    """Be this command's process from now on."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for file, descriptor in ((os.devnull, 0), (command["out"], 1), (command["err"], 2)):
        opened = os.open(file, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
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


def prepare() -> None:
    """Serve until nobody is left to ask. Returns in each fork, which has a command to run."""
    for name in SUMMARIES.keys() - LARGE:
        LazyCommand(name).make_context(name, [], resilient_parsing=True)
    gc.collect()
    gc.freeze()
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
