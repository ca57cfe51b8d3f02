"""Files that come from outside: uploads, kept until they are imported, and a folder that the operator fills.

No name that a person typed is opened: an upload gets a name of our own, and of the folder only what it lists can be
chosen. What is in the files is read as data and never run.
"""

import os
import re
import secrets
import shutil
import time
import unicodedata
import zlib
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs import queue
from crossrec.runs.disk import disk_errors

ROLES = ("source", "target", "source_items", "target_items")
LOG = "log"
"""The role of a feedback log, beside those of an import."""
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".csv.gz", ".tsv.gz", ".json.gz", ".jsonl.gz", ".parquet")
UPLOAD_BYTES = 500 << 20
"""The largest file that can be uploaded; `.streamlit/config.toml` says the same."""
UPLOADS_BYTES = 5 << 30
"""The most that all uploads may take on the disk together."""
UNPACKED_BYTES = 4 << 30
"""The most that an upload may hold once it is unpacked."""
UNPACKED_ROWS = 100_000_000
KEPT = 24 * 3600.0
"""Seconds that an upload is kept which no import reads."""
MOST_LISTED = 500
_CHUNK = 1 << 20
_NAME = re.compile(r"[^\x00-\x1f/\\*?\[\]{}]{1,200}")


def uploads() -> Path:
    return paths.home() / "uploads"


def inbox() -> Path:
    """The folder whose files can be chosen in the browser: CROSSREC_IMPORT_FOLDER, or inbox/ below the artifacts."""
    moved = os.environ.get("CROSSREC_IMPORT_FOLDER")
    return Path(moved).expanduser().absolute() if moved else paths.home() / "inbox"


def inbox_files() -> list[str]:
    """Names of the files in the inbox that can be events, sorted; a link that leads out of it is none of them."""
    folder = inbox()
    try:
        found = sorted(path.name for path in folder.iterdir() if _is_listed(path, folder.resolve()))
    except OSError:  # it is not there, or not to be read
        return []
    return found[:MOST_LISTED]


def inbox_file(name: str) -> Path:
    """The path of a file of the inbox.

    Raises:
        CrossrecError: the inbox lists no such file.
    """
    if name not in inbox_files():
        raise CrossrecError(f"{name[:80]!r} is not among the files in {inbox()}: choose one that is listed.")
    return inbox() / name


def store_upload(given: BinaryIO, name: str, role: str) -> Path:
    """Copies an uploaded file into a new folder below `uploads`, under the name of its role; returns its path.

    Args:
        given: open for reading, at its beginning.
        name: what the person calls the file: only its ending counts.
        role: one of `ROLES`, or `LOG`.

    Raises:
        CrossrecError: it is not of a kind that can be read, too large, or there is no room for it.
    """
    suffix = next((one for one in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(one)), None)
    if suffix is None or role not in (*ROLES, LOG):
        raise CrossrecError(f"{shown_name(name)!r} cannot be read: upload one of {', '.join(SUFFIXES)}.")
    clear_uploads()
    with disk_errors(uploads()):
        uploads().mkdir(parents=True, exist_ok=True)
        taken = sum(path.stat().st_size for path in uploads().rglob("*") if path.is_file())
        folder = uploads() / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        try:
            done = 0
            with (folder / f"{role}{suffix}").open("xb") as file:
                while chunk := given.read(_CHUNK):
                    done += len(chunk)
                    if done > UPLOAD_BYTES:
                        raise CrossrecError(
                            f"{shown_name(name)!r} is above {UPLOAD_BYTES >> 20:,} MB: put it into {inbox()} on the "
                            "machine instead."
                        )
                    if taken + done > UPLOADS_BYTES:
                        raise CrossrecError("Too many uploads wait for their import: start those first, or wait a day.")
                    file.write(chunk)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder / f"{role}{suffix}"


def is_upload(path: Path) -> bool:
    """Whether a path is that of a stored upload."""
    return path.parent.parent == uploads() and path.parent.resolve().parent == uploads().resolve()


def check_unpacked(path: Path) -> None:
    """Unpacks an upload to nowhere, so that a small file that holds far more is found before it fills the disk.

    Raises:
        CrossrecError: it holds more than `UNPACKED_BYTES` or `UNPACKED_ROWS`.
    """
    too_much = CrossrecError(
        f"{path.name} holds more than {UNPACKED_BYTES >> 30} GB once it is unpacked: import it on the machine instead."
    )
    with path.open("rb") as file:
        magic = file.read(4)
        if magic == b"PAR1":
            try:
                about = pq.read_metadata(path)
            except (pa.ArrowInvalid, OSError) as error:
                raise CrossrecError(f"{path.name} is a damaged Parquet file: make or fetch it again.") from error
            size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            if size > UNPACKED_BYTES or about.num_rows > UNPACKED_ROWS:
                raise too_much
        if magic[:2] != b"\x1f\x8b":
            return
        file.seek(0)
        unpacked, reader = 0, zlib.decompressobj(wbits=31)
        while chunk := reader.unconsumed_tail or reader.unused_data or file.read(_CHUNK):
            if reader.eof:  # several gzip files in a row are one
                reader = zlib.decompressobj(wbits=31)
            try:
                unpacked += len(reader.decompress(chunk, _CHUNK))
            except zlib.error as error:
                raise CrossrecError(f"{path.name} is a truncated or damaged gzip file: fetch it again.") from error
            if unpacked > UNPACKED_BYTES:
                raise too_much


def remove_upload(path: Path) -> None:
    """Removes a stored upload with its folder; any other path stays as it is."""
    if is_upload(path):
        shutil.rmtree(path.parent, ignore_errors=True)


def clear_uploads() -> None:
    """Removes the uploads older than a day that no import waits to read, or could be started again to read."""
    if not uploads().is_dir():
        return
    used = set()
    for task in queue.tasks("import"):
        try:
            if not task.finished:
                used |= {Path(path).parent.name for path in task.config().get("files", {}).values() if path}
        except CrossrecError:
            continue
    for folder in uploads().iterdir():
        try:
            if folder.name not in used and time.time() - folder.stat().st_mtime > KEPT:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # cleared by another
            continue


def shown_name(name: str) -> str:
    """What a person calls a file, without folders and control characters, and not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")[:100]


def _is_listed(path: Path, folder: Path) -> bool:
    named = not path.name.startswith(".") and _NAME.fullmatch(path.name) and path.name.lower().endswith(SUFFIXES)
    return bool(named) and path.is_file() and path.resolve().parent == folder
