"""Counts how often a stage changes a file, or kills it at one of these moments: power cuts for tests.

Python imports this by itself when this folder is on ``PYTHONPATH``. Only processes of ``python -m stages.…``
are touched, and only what they open for writing, rename, make or remove below ``KILL_SWITCH_ROOT`` counts.
"""

import atexit
import os
import re
import signal
import sys
import threading
import time

MATCH = re.search(r"-m stages\.(\w+).*", " ".join(sys.orig_argv))
ROOT = os.environ.get("KILL_SWITCH_ROOT", "")
AT = int(os.environ.get("KILL_SWITCH_AT", "0"))  # number of the change; 0 never kills
DELAY = float(os.environ.get("KILL_SWITCH_DELAY", "0"))  # seconds after it
WHOM = os.environ.get("KILL_SWITCH_WHOM", "group")  # group (DVC and the stage), stage, or dvc
LOG = os.environ.get("KILL_SWITCH_LOG", "")  # gets a line with the number of changes and the command
OVERSHOOT = 1  # changes that may come through between AT and the kill
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")

count = 0


def watch(event: str, arguments: tuple) -> None:
    global count
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & WRITING:
            return
    elif event in CHANGES:
        path = arguments[0]
    else:
        return
    if isinstance(path, int) or not os.path.abspath(path := os.fsdecode(path)).startswith(ROOT):
        return
    if "__pycache__" in path:  # written by the first run only
        return
    count += 1
    if AT and count > AT + OVERSHOOT:
        time.sleep(60)  # the kill is on its way; without this a fast machine would be done before it
    if count == AT:
        if DELAY:
            threading.Thread(target=lambda: (time.sleep(DELAY), kill()), daemon=True).start()
        else:
            kill()


def kill() -> None:
    if WHOM == "dvc":
        os.kill(os.getppid(), signal.SIGKILL)
    elif WHOM == "stage":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.killpg(os.getpgid(0), signal.SIGKILL)


def note() -> None:
    final = count
    with open(LOG, "a") as log:
        log.write(f"{final}\t{MATCH[0]}\n")


if MATCH and ROOT:
    if LOG:
        atexit.register(note)
    sys.addaudithook(watch)
