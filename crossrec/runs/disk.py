"""What the system says of a disk or a folder, in one sentence."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossrec.errors import CrossrecError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Tells what the system says of a disk or a folder in one sentence."""
    try:
        yield
    except OSError as error:
        raise told_of_disk(error, folder) from error


def os_error(error: BaseException) -> OSError | None:
    """The system's error behind an error, also where a library of another language has put it into words."""
    if isinstance(error, OSError):
        return error if error.errno is not None else None
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def told_of_disk(error: OSError, folder: Path) -> CrossrecError:
    """The sentence for a failed write or read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CrossrecError(f"The disk of {folder} is full: free some space and resume.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CrossrecError(f"{error.filename or folder} may not be written: change its permissions and resume.")
    return CrossrecError(f"{error.filename or folder} cannot be used ({error.strerror or type(error).__name__}).")
