"""Where artifacts live, and the only names that may become a path below it."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from crossrec.errors import CrossrecError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout; where the package was installed as a copy, the folder it is in."""
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def home() -> Path:
    """The artifacts folder: `CROSSREC_HOME`; or `artifacts/` of the checkout that the package is in, or else of the
    working folder."""
    moved = os.environ.get("CROSSREC_HOME")
    if moved:
        return Path(moved).expanduser().absolute()
    return (ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()) / "artifacts"


def datasets() -> Path:
    return home() / "datasets"


def runs() -> Path:
    return home() / "runs"


def imports() -> Path:
    return home() / "imports"


def building() -> Path:
    return home() / "building"


def downloads() -> Path:
    return home() / "downloads"


def vectors() -> Path:
    return home() / "vectors"


def maps() -> Path:
    return home() / "maps"


def logs() -> Path:
    return home() / "logs"


def searches() -> Path:
    return home() / "searches"


def slug(name: str, what: str) -> str:
    """Returns the name if it may become a folder's name; `what` says in the error what it should have named.

    Raises:
        CrossrecError: the name is a path, is empty, or has characters other than letters, digits, `_`, `.` and `-`.
    """
    if not _SLUG.fullmatch(name) or ".." in name:
        raise CrossrecError(
            f"{name[:80]!r} cannot name a {what}: give a plain name of letters, digits, '_', '.' and '-', not a path."
        )
    return name


def write_json(path: Path, value: Any) -> None:
    """Writes JSON to a temporary file beside `path` and renames it, so that a reader sees the old or the new whole."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Reads a JSON file that this program wrote.

    Raises:
        CrossrecError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CrossrecError(f"{path} is missing: the folder is incomplete; remove it and make it again.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CrossrecError(f"{path} is not readable as JSON; remove the folder and make it again.") from error
