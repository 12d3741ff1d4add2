"""The one error type that a user's mistake raises, and how a stage script ends on it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path


class InputError(Exception):
    """Something the user gave is wrong: says where, what was expected, what was found, what to do.

    Args:
        where: file, file and line, parameter or option.
        expected: what would have been right.
        found: what is there instead.
        remedy: what to do next.
    """

    def __init__(self, where: str | Path, *, expected: str, found: str, remedy: str) -> None:
        self.where, self.expected, self.found, self.remedy = str(where), expected, found, remedy
        super().__init__(
            f"{where}\n  expected: {expected}\n  found:    {found}\n  remedy:   {remedy}"
        )


def run(main: Callable[[], None]) -> None:
    """Run a script's ``main``; a user's mistake, a full disk and a folder that is closed to us end in one
    message and exit code 2."""
    try:
        main()
    except InputError as error:
        sys.exit(_message(str(error)))
    except OSError as error:
        if error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            sys.exit(
                _message(
                    f"{error.filename}\n  expected: a file or folder that this user may read and write\n"
                    f"  found:    {error.strerror}\n  remedy:   change its permissions, or name another "
                    "folder (DENSESPEC_SCRATCH for scratch)"
                )
            )
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(
            _message(
                f"{error.filename or 'disk'}\n  expected: free space\n  found:    {error.strerror}\n"
                "  remedy:   free some space (`dvc gc -w` drops unused cache, `densespec clean` drops "
                "finished scratch) and run the same command again; finished shards are kept"
            )
        )
    except KeyboardInterrupt:
        sys.exit(_message("interrupted; finished shards are kept, run the same command to go on", 130))


def _message(text: str, code: int = 2) -> int:
    print(f"error: {text}", file=sys.stderr, flush=True)
    return code
