"""Imports and downloads as tasks: a folder in imports/ each, worked on by a process of its own.

A task's config.json holds "kind" ("files", "upload" or "download"), "dataset", all that repeats it, and the equal
"command". Its status says what is done in "doing", how far it is in "progress" (0 to 1), and of a download "bytes" and
"bytes_total"; finished, it has the dataset's "counts" and what is known of its "split".
"""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from crossrec import paths
from crossrec.data import hub
from crossrec.data.folder import load_meta
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import PrepareOptions, ReadOptions, import_pair
from crossrec.data.sniff import choose, sniff
from crossrec.data.split import open_split, read_leak_report
from crossrec.errors import CrossrecError, nearest
from crossrec.runs import queue
from crossrec.runs.disk import disk_errors
from crossrec.runs.incoming import ROLES, check_unpacked, clear_uploads, is_upload, remove_upload, shown_name
from crossrec.runs.locks import BusyError, take_lock
from crossrec.runs.progress import Progress
from crossrec.runs.task import Task, TaskWriter
from crossrec.stopping import Stop, Stopped

NO_MEMORY = "There is not enough memory: import fewer events, or close other programs."
UNTESTED = "Nobody can be tested on it: too few people have two target events."


def files_config(
    name: str,
    source: Path | None,
    target: Path,
    *,
    source_items: Path | None = None,
    target_items: Path | None = None,
    read: ReadOptions | tuple[ReadOptions, ReadOptions] | None = None,
    options: PrepareOptions | None = None,
    labels: tuple[str, str] | None = None,
    replace: bool = False,
    called: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Looks through an import of files; the arguments are those of `import_pair`. Returns what `enqueue` takes.

    Args:
        called: what people call the files, by role, where they are uploads: these are removed when they are imported.

    Raises:
        CrossrecError: a file, a column or the name will not do.
    """
    paths.slug(name, "dataset")
    reads = read if isinstance(read, tuple) else (read or ReadOptions(),) * 2
    files = dict(zip(ROLES, (source, target, source_items, target_items), strict=True))
    for role, path in files.items():
        if path is None:
            continue
        how = reads[role.startswith("target")]
        if role in ("source", "target"):
            shape = sniff(path, how)
            if shape.kind != "sequences":
                choose(path, shape, how)
        else:
            sniff(path, ReadOptions(format="csv"))
    uploaded = [is_upload(Path(path).absolute()) for path in files.values() if path is not None]
    known = {role: shown_name(word) for role, word in (called or {}).items() if role in ROLES}
    config = {
        "kind": "upload" if all(uploaded) else "files",
        "dataset": name,
        "files": {role: path and _stored(Path(path).absolute()) for role, path in files.items()},
        "called": known,
        "read": [asdict(one) for one in reads],
        "options": asdict(options or PrepareOptions()),
        "labels": None if labels is None else [label.strip()[:60] for label in labels],
        "replace": replace,
    }
    given = {role: known.get(role, str(Path(path).absolute())) for role, path in files.items() if path is not None}
    return config | {"command": _import_command(config, given, reads)}


def download_config(
    name: str,
    source: str,
    target: str,
    subset: str = "raw",
    options: PrepareOptions | None = None,
    *,
    replace: bool = False,
) -> dict[str, Any]:
    """Looks through a download of two categories with their import; the arguments are those of `download_pair`.

    Returns what `enqueue` takes.

    Raises:
        CrossrecError: a category, the subset or the name will not do.
    """
    paths.slug(name, "dataset")
    hub.check_categories(source, target, subset)
    config = {
        "kind": "download",
        "dataset": name,
        "source": source,
        "target": target,
        "subset": subset,
        "options": asdict(options or PrepareOptions()),
        "replace": replace,
    }
    words = ["crossrec", "data", "download", name, "--source", source, "--target", target]
    words += ["--subset", subset] if subset != get_args(hub.Subset)[0] else []
    return config | {"command": shlex.join(words + _option_words(config))}


def enqueue(config: dict[str, Any]) -> Task:
    """Puts an import into the queue that was looked through by `files_config` or `download_config`.

    Raises:
        CrossrecError: the dataset's name is taken, or an import of it is under way.
    """
    with disk_errors(paths.imports()):
        paths.imports().mkdir(parents=True, exist_ok=True)
        # Of two that ask for one name at once, the second finds the first.
        try:
            lock = take_lock(paths.imports() / ".lock", wait=10.0)
        except BusyError as error:
            raise CrossrecError("Another import is being put into the queue: try again.") from error
        try:
            check_free(config["dataset"], config["replace"])
            return queue.add("import", config["dataset"], config)
        finally:
            os.close(lock)


def enqueue_files(name: str, source: Path | None, target: Path, **how: Any) -> Task:
    """Puts an import of files into the queue: `files_config`, then `enqueue`."""
    return enqueue(files_config(name, source, target, **how))


def enqueue_download(name: str, source: str, target: str, *how: Any, **more: Any) -> Task:
    """Puts a download of two categories with their import into the queue: `download_config`, then `enqueue`."""
    return enqueue(download_config(name, source, target, *how, **more))


def check_free(name: str, replace: bool = False) -> None:
    """Looks whether a dataset could be made under a name now.

    Raises:
        CrossrecError: it is no plain name, it is taken, or an import of it is under way.
    """
    if (paths.datasets() / paths.slug(name, "dataset")).exists() and not replace:
        raise CrossrecError(f"The dataset {name!r} exists: choose another name.")
    for task in queue.tasks("import"):
        if _is_under_way(task, name):
            raise CrossrecError(f"An import of {name!r} is under way: wait for it, cancel it, or choose another name.")


def list_imports() -> list[Task]:
    """The imports, newest first; a folder that cannot be read is none of them."""
    found = []
    for task in queue.tasks("import"):
        try:
            task.status()["state"]
            found.append((task.config()["created"], task.name, task))
        except (CrossrecError, KeyError):
            continue
    return [task for _, _, task in sorted(found, key=lambda x: x[:2], reverse=True)]


def open_import(name: str) -> Task:
    """An import by name.

    Raises:
        CrossrecError: there is no such import; the nearest is named.
    """
    task = Task(paths.imports() / paths.slug(name, "import"))
    if not (task.folder / "config.json").exists():
        known = [one.name for one in list_imports()]
        raise CrossrecError(f"There is no import {name!r}.{nearest(name, known) or ' There is none at all yet.'}")
    return task


def forget(task: Task) -> None:
    """Removes an import's record and the files that were uploaded for it; the dataset stays.

    Raises:
        CrossrecError: it is being worked on.
    """
    files = _files(task.config())
    queue.remove(task)
    for path in files.values():
        remove_upload(path)


def carry_out(folder: Path, stop: Stop | None = None) -> None:
    """Works on an import that waits, until it is finished, stopped or failed; its status says which.

    Args:
        stop: the wish to stop is looked up there too, in case a library has swallowed what the signal raised.

    Raises:
        CrossrecError: it does not wait, or another process is at it; or what made it fail.
        Stopped: it was stopped: nothing is left of a dataset that was begun, but what was downloaded is.
    """
    writer = TaskWriter(folder, expect=("queued",))
    config = writer.task.config()
    name, files = config["dataset"], _files(config)
    known = config.get("called", {})
    called = _as_called({files[role].name: word for role, word in known.items() if role in files})
    with writer.telling(f"crossrec data resume {writer.task.name}", NO_MEMORY, called, progress=None):
        with Progress(writer, list(files.values()), config["kind"] == "download", stop) as progress:
            # An import that ended between the dataset and its split has only the split left to make.
            if writer.task.status().get("made") != _hash_of(name):
                _make(config, files, progress)
            progress({"event": "split"})
            split = _split(name)
        writer.end("finished", dataset=name, progress=1.0, split=split)
    for path in files.values():
        remove_upload(path)
    clear_uploads()


def _make(config: dict[str, Any], files: dict[str, Path], progress: Progress) -> None:
    options = PrepareOptions.from_dict(config["options"])
    if config["kind"] == "download":
        pair = config["source"], config["target"], config["subset"]
        given = {"replace": config["replace"], "watch": progress.watch}
        hub.download_pair(config["dataset"], *pair, options, progress, **given)
        return
    for path in files.values():
        if is_upload(path):
            progress({"event": "check", "file": path.name})
            check_unpacked(path)
    first, second = (ReadOptions.from_dict(one) for one in config["read"])
    import_pair(
        config["dataset"],
        files.get("source"),
        files["target"],
        source_items=files.get("source_items"),
        target_items=files.get("target_items"),
        read=(first, second),
        options=options,
        labels=config["labels"] and tuple(config["labels"]),
        origin_kind=config["kind"],
        replace=config["replace"],
        on_event=progress,
        watch=progress.watch,
    )


def _split(name: str) -> dict[str, Any]:
    """Makes the next-item split with its leak report; where that cannot be, "note" says why, and the data remain."""
    try:
        pair = DomainPair.open(name)
        split = open_split(pair)
        report = read_leak_report(pair.folder, "next-item-0") or {}
    except (Stopped, KeyboardInterrupt):
        return {"note": "Its split was left out, because the import was cancelled: the first training makes it."}
    except CrossrecError as error:
        return {"note": str(error)}
    sizes = {"valid": len(split.valid), "test": len(split.test), "leaks": report.get("leaks")}
    return sizes | ({} if sizes["valid"] and sizes["test"] else {"note": UNTESTED})


def _is_under_way(task: Task, dataset: str) -> bool:
    try:
        return task.state in ("queued", "running", "stopping") and task.config()["dataset"] == dataset
    except (CrossrecError, KeyError):  # it is going, or damaged
        return False


def _as_called(called: dict[str, str]) -> Callable[[CrossrecError], CrossrecError]:
    """Names a file as the person does: our sentences begin with the file that they are about."""

    def reword(error: CrossrecError) -> CrossrecError:
        ours = str(error).split(" ")[0].rstrip(":")
        return CrossrecError(str(error).replace(ours, called[ours], 1)) if ours in called else error

    return reword


def _hash_of(name: str) -> str:
    """The hash of a dataset; empty where there is none."""
    try:
        return str(load_meta(name)["hash"])
    except CrossrecError:
        return ""


def _stored(path: Path) -> str:
    """A path below the artifacts as seen from there, so that they can be moved; any other as it is."""
    return str(path.relative_to(paths.home()) if path.is_relative_to(paths.home()) else path)


def _files(config: dict[str, Any]) -> dict[str, Path]:
    return {role: paths.home() / path for role, path in config.get("files", {}).items() if path}


# --- the equal command -----------------------------------------------------------------------------------------------


def _import_command(config: dict[str, Any], given: dict[str, str], reads: tuple[ReadOptions, ...]) -> str:
    words = ["crossrec", "data", "import", config["dataset"]]
    for role, path in given.items():
        words += ["--" + role.replace("_", "-"), path]
    for which, label in zip(("source", "target"), config["labels"] or (), strict=False):
        words += [f"--{which}-label", label] if label else []
    used = reads if "source" in given else reads[1:]
    for key in asdict(used[0]):
        values = [getattr(one, key) for one in used]
        if len(set(values)) == 1:
            words += ["--" + key.replace("_", "-"), values[0]] if values[0] else []
        else:
            pairs = zip(("source", "target"), values, strict=True)
            words += [word for which, value in pairs if value for word in ("--read", f"{which}.{key}={value}")]
    return shlex.join(words + _option_words(config))


def _option_words(config: dict[str, Any]) -> list[str]:
    """The command's words for the filters that differ from the defaults."""
    words = []
    for key, value in config["options"].items():
        if value == getattr(PrepareOptions(), key):
            continue
        option = "--" + {"max_events": "max-items"}.get(key, key.replace("_", "-"))
        words += [option] if value is True else [option, str(value)]
    return words + (["--replace"] if config["replace"] else [])
