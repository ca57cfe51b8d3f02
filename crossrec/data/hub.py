"""The 2023 edition of the Amazon reviews from the Hugging Face hub: fetched once, resumed where a download broke off.

`huggingface_hub` names, finds and describes the files; the bytes are streamed here, for its own download discards what
it has when it fails, and the largest of these files are tens of gigabytes. The data set is public: no token is sent.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import duckdb
from filelock import Timeout
from huggingface_hub import get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import WeakFileLock, build_hf_headers, hf_raise_for_status

from crossrec import paths
from crossrec.data.prepare import PrepareOptions, import_pair
from crossrec.errors import CrossrecError, nearest

REPOSITORY = "McAuley-Lab/Amazon-Reviews-2023"

Subset = Literal["raw", "5core", "0core"]

CATEGORIES = (
    "All_Beauty",
    "Amazon_Fashion",
    "Appliances",
    "Arts_Crafts_and_Sewing",
    "Automotive",
    "Baby_Products",
    "Beauty_and_Personal_Care",
    "Books",
    "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry",
    "Digital_Music",
    "Electronics",
    "Gift_Cards",
    "Grocery_and_Gourmet_Food",
    "Handmade_Products",
    "Health_and_Household",
    "Health_and_Personal_Care",
    "Home_and_Kitchen",
    "Industrial_and_Scientific",
    "Kindle_Store",
    "Magazine_Subscriptions",
    "Movies_and_TV",
    "Musical_Instruments",
    "Office_Products",
    "Patio_Lawn_and_Garden",
    "Pet_Supplies",
    "Software",
    "Sports_and_Outdoors",
    "Subscription_Boxes",
    "Tools_and_Home_Improvement",
    "Toys_and_Games",
    "Video_Games",
)

INTERVAL = 0.25
"""Seconds between two progress events of one file, beside its first and last."""

ATTEMPTS = 5
"""How often in a row a connection may fail without a byte before the download stops."""

PAUSE = 1.0
"""Seconds before the connection is tried again."""

_TIMEOUT = 30.0
# huggingface_hub speaks through httpx or its successor: the root of its own errors is the one that both share.
_HttpError: type[Exception] = next(c for c in HfHubHTTPError.__mro__ if c.__name__ in ("HTTPError", "RequestException"))

OnEvent = Callable[[dict[str, Any]], None]


def _ignore(_: Any) -> None:
    return None


def download(
    source_category: str,
    target_category: str,
    *,
    subset: Subset = "raw",
    with_items: bool = True,
    on_event: OnEvent = _ignore,
) -> dict[str, Path]:
    """Fetches two categories' reviews and items into `paths.downloads()`; returns their paths.

    The keys are source, target and, with `with_items`, source_items, target_items. A file that is there and unchanged
    on the hub is not fetched again, nor is the hub needed for it. `HF_ENDPOINT` is honoured as it is at the call.

    Args:
        subset: `raw` (reviews with texts, JSON lines), or the ratings only: `0core`, or `5core` (users and items with
            at least five).
        on_event: called with {"event": "download", "role": a key of the result, "file", "done", "total"} in bytes.

    Raises:
        CrossrecError: a category is not known or not in the subset, there is no connection, or the hub has no such
            file.
    """
    check_categories(source_category, target_category, subset)
    wanted = {}
    for role, category in (("source", source_category), ("target", target_category)):
        raw = f"raw/review_categories/{category}.jsonl"
        wanted[role] = raw if subset == "raw" else f"benchmark/{subset}/rating_only/{category}.csv"
        if with_items:
            wanted[f"{role}_items"] = f"raw/meta_categories/meta_{category}.jsonl"
    return {role: _fetch(role, filename, on_event) for role, filename in wanted.items()}


def check_categories(source_category: str, target_category: str, subset: str) -> None:
    """Looks whether the hub has such a pair, without asking it.

    Raises:
        CrossrecError: a category or the subset is not known, or the two categories are one.
    """
    if subset not in get_args(Subset):
        raise CrossrecError(f"The subset {subset!r} is not known.{nearest(subset, get_args(Subset))}")
    for category in (source_category, target_category):
        if category not in CATEGORIES:
            raise CrossrecError(f"There is no category {category!r}.{nearest(category, CATEGORIES)}")
        if subset == "5core" and category == "Digital_Music":
            raise CrossrecError("Digital_Music is not in the 5core subset: take it from 'raw' or '0core'.")
    if source_category == target_category:
        raise CrossrecError(f"Source and target are both {source_category!r}: name two categories.")


def download_pair(
    name: str,
    source: str,
    target: str,
    subset: Subset = "raw",
    options: PrepareOptions | None = None,
    on_event: OnEvent = _ignore,
    *,
    replace: bool = False,
    watch: Callable[[duckdb.DuckDBPyConnection | None], None] = _ignore,
) -> Path:
    """Fetches two categories and imports them as the dataset `name`; returns its folder.

    Raises:
        CrossrecError: as for `download` and `import_pair`; a name that is taken is told before anything is fetched.
    """
    if (paths.datasets() / paths.slug(name, "dataset")).exists() and not replace:
        raise CrossrecError(f"The dataset {name!r} exists: choose another name, or replace it.")
    files = download(source, target, subset=subset, on_event=on_event)
    return import_pair(
        name,
        files["source"],
        files["target"],
        source_items=files["source_items"],
        target_items=files["target_items"],
        options=options,
        labels=(source.replace("_", " "), target.replace("_", " ")),
        origin_kind="hub",
        replace=replace,
        on_event=on_event,
        watch=watch,
    )


def _fetch(role: str, filename: str, on_event: OnEvent) -> Path:
    final = paths.downloads() / REPOSITORY.replace("/", "--") / filename
    note = final.with_name(f".{final.name}.json")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(REPOSITORY, filename, repo_type="dataset", endpoint=endpoint)
    try:
        about = get_hf_file_metadata(url, token=False, timeout=_TIMEOUT, endpoint=endpoint)
        etag, size = about.etag or "", about.size
    except CrossrecError:  # it was stopped
        raise
    except Exception as error:
        if not isinstance(error, EntryNotFoundError) and final.is_file() and note.is_file():
            return _tell_whole(role, filename, final, on_event)
        told = _told(filename, url, error)
        if told is None:
            raise
        raise told from error
    if final.is_file() and note.is_file() and paths.read_json(note) == {"etag": etag, "size": size}:
        return _tell_whole(role, filename, final, on_event)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # The mark of the version is in the name: bytes of one version are never continued with those of another.
        mark = hashlib.sha256(etag.encode()).hexdigest()[:16]
        part = final.with_name(f".{final.name}.{mark}.part")
        with WeakFileLock(final.with_name(f".{final.name}.lock"), timeout=1):
            _require_room(part, filename, size)
            _stream(part, url, size, lambda done, total: on_event(_progress(role, filename, done, total)))
            _verify(part, filename, etag, size)
            os.replace(part, final)
            paths.write_json(note, {"etag": etag, "size": size})
    except Timeout as error:
        raise CrossrecError(f"{filename} is being fetched by another process: wait for it to finish.") from error
    except OSError as error:
        if isinstance(error, HfHubHTTPError) or error.strerror is None:
            raise
        raise CrossrecError(f"{filename} cannot be stored in {final.parent} ({error.strerror}).") from error
    return final


def _require_room(part: Path, filename: str, size: int | None) -> None:
    """Stops before the first byte where the file does not fit the disk."""
    needed = (size or 0) - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise CrossrecError(
            f"{filename} needs {needed / 1e9:,.1f} GB and the disk of {part.parent} has {free / 1e9:,.1f} GB: free "
            "some space, or choose a smaller category."
        )


def _stream(part: Path, url: str, size: int | None, progress: Callable[[int, int | None], None]) -> None:
    """Appends to `part` what it lacks, over as many connections as it takes."""
    done = part.stat().st_size if part.exists() else 0
    failures, last = 0, time.monotonic()
    progress(done, size)
    while size is None or done != size:
        headers = build_hf_headers(token=False) | {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        before = done
        try:
            with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
                if response.status_code == 416:  # what is there is longer than the file: begin anew
                    part.unlink(missing_ok=True)
                    done = 0
                    raise _HttpError("range")
                hf_raise_for_status(response)
                resumed = response.status_code == 206
                with part.open("ab" if resumed else "wb") as file:
                    done = done if resumed else 0
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                        done += len(chunk)
                        if time.monotonic() - last >= INTERVAL:
                            last = time.monotonic()
                            progress(done, size)
            if size is None or done >= size:
                break
            raise _HttpError("short")
        except (EntryNotFoundError, RepositoryNotFoundError, OfflineModeIsEnabled, _HttpError) as error:
            told = _told(url.rsplit("/", 1)[-1], url, error)
            failures = 0 if done > before else failures + 1
            final_word = isinstance(error, HfHubHTTPError | OfflineModeIsEnabled)
            if told is not None and (final_word or failures >= ATTEMPTS):
                raise told from error
            time.sleep(PAUSE)
    progress(done, size)


def _verify(part: Path, filename: str, etag: str, size: int | None) -> None:
    """Compares size and, where the hub's mark is one, the SHA-256; what differs is removed."""
    right = size is None or part.stat().st_size == size
    if right and len(etag) == 64:
        with part.open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == etag
    if not right:
        part.unlink()
        raise CrossrecError(f"{filename} arrived damaged and was removed: fetch it again.")


def _told(filename: str, url: str, error: Exception) -> CrossrecError | None:
    """The one sentence for what the hub or the network did, or None when the error is neither's."""
    host = url.split("/datasets/")[0]
    if isinstance(error, EntryNotFoundError):
        return CrossrecError(f"{host} has no file {filename} in {REPOSITORY}: choose another category or subset.")
    if isinstance(error, RepositoryNotFoundError):
        return CrossrecError(f"{host} has no data set {REPOSITORY}: check HF_ENDPOINT.")
    if isinstance(error, OfflineModeIsEnabled):
        return CrossrecError(f"{filename} is not here yet and HF_HUB_OFFLINE forbids fetching it: unset it.")
    if isinstance(error, FileMetadataError):
        return CrossrecError(f"{host} does not answer as a Hugging Face hub does: check HF_ENDPOINT.")
    if isinstance(error, HfHubHTTPError):
        return CrossrecError(f"{host} refused {filename} (HTTP {error.response.status_code}): try again later.")
    if isinstance(error, _HttpError):
        return CrossrecError(
            f"The connection to {host} failed ({type(error).__name__}) while fetching {filename}: check the network "
            "and try again, and it goes on from where it stopped."
        )
    return None


def _tell_whole(role: str, filename: str, final: Path, on_event: OnEvent) -> Path:
    size = final.stat().st_size
    on_event(_progress(role, filename, size, size))
    return final


def _progress(role: str, filename: str, done: int, total: int | None) -> dict[str, Any]:
    return {"event": "download", "role": role, "file": filename, "done": done, "total": total}
