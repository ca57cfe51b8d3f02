"""Imports and downloads as tasks: in processes of their own where that matters, in this one where it does not."""

import errno
import gzip
import io
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from small_hub import Hub

from crossrec import paths
from crossrec.cli import dashed
from crossrec.data import folder as folders
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import PrepareOptions, ReadOptions, list_datasets
from crossrec.errors import CrossrecError
from crossrec.runs import imports, incoming, queue
from crossrec.runs.imports import carry_out, enqueue_download, enqueue_files, forget, list_imports, open_import
from crossrec.runs.task import Task
from crossrec.stopping import Stop, Stopped

HEADER = "user_id,item_id,rating,timestamp\n"
"""Seconds after which something that must come is taken for missing."""


def lines(which: str, people: int = 12, each: int = 5) -> list[str]:
    return [
        f"u{u},{which}{(u * 3 + i) % 9},{1 + (u + i) % 5},{1_600_000_000 + i * 9000}\n"
        for u in range(people)
        for i in range(each)
    ]


def write(path: Path, rows: list[str], times: int = 1) -> Path:
    path.write_text(HEADER + "".join(rows) * times)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two small files; 12 people are in both."""
    return write(tmp_path / "movies.csv", lines("m")), write(tmp_path / "music.csv", lines("s"))


@pytest.fixture
def long_files(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that take seconds to read."""
    return write(tmp_path / "long.csv", lines("m"), 60_000), write(tmp_path / "longer.csv", lines("s"), 60_000)


@pytest.fixture
def no_keeper(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """What is put into the queue waits until a test carries it out."""
    monkeypatch.setattr(queue, "keep", lambda: None)


@pytest.fixture
def keeper(home: Path) -> Iterator[None]:
    """Processes of their own; none is left when the test is over."""
    yield
    for task in queue.tasks("import"):
        if task.state in ("queued", "running"):
            queue.cancel(task)
    until(lambda: not queue.working("import"))


def hidden() -> list[str]:
    return [path.name for path in paths.datasets().glob(".*")] if paths.datasets().exists() else []


# --- in processes of their own ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("keeper")
def test_a_process_imports_splits_and_ends(files: tuple[Path, Path]) -> None:
    task = enqueue_files("pair", *files, labels=("Films", "Songs"), options=PrepareOptions(k_core=2))
    until(lambda: task.finished)
    status = task.shown()
    assert (status["dataset"], status["progress"], status["counts"]["overlap_users"]) == ("pair", 1.0, 12)
    assert status["split"] == {"valid": 12, "test": 12, "leaks": 0}
    assert DomainPair.open("pair").source.label == "Films"
    assert (paths.datasets() / "pair" / "splits" / "next-item-0.json").exists()
    told = [event["event"] for event in task.events()]
    assert told[0] == "read" and told[-2:] == ["done", "split"] and "write" in told
    assert "error" not in status and "doing" not in status


@pytest.mark.usefixtures("keeper")
def test_a_cancelled_import_leaves_nothing_and_can_be_run_again(long_files: tuple[Path, Path]) -> None:
    task = enqueue_files("pair", *long_files)
    until(lambda: str(task.shown().get("doing", "")).startswith("reading"))
    assert queue.cancel(task) == "stopping"
    until(lambda: task.state == "stopped")
    assert list_datasets() == [] and hidden() == []
    assert task.shown().get("error") is None and "Traceback" not in task.log()
    write(long_files[0], lines("m")), write(long_files[1], lines("s"))
    queue.resume(task)
    until(lambda: task.state not in ("queued", "running"))
    assert task.state == "finished" and DomainPair.open("pair").n_users == 12


@pytest.mark.usefixtures("keeper")
def test_a_killed_import_is_told_as_failed_and_its_remains_are_cleared(
    long_files: tuple[Path, Path], files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = enqueue_files("pair", *long_files)
    until(lambda: str(task.shown().get("doing", "")).startswith("reading"))
    os.kill(task.status()["pid"], signal.SIGKILL)
    until(lambda: task.status()["state"] == "failed")
    assert "killed (SIGKILL" in task.shown()["error"] or "without a word" in task.shown()["error"]
    assert list_datasets() == []
    assert len(hidden()) == 1
    monkeypatch.setattr(folders, "_NEW", -1.0)
    with folders.building("other", replace=False):
        (mine,) = hidden()
        assert mine.startswith(".other-")
        with folders.building("third", replace=False):
            assert mine in hidden(), "somebody builds in it"
    assert {path.name for path in paths.datasets().iterdir()} == {"other", "third"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Two categories of 40 people, in files that do not fit one packet."""
    root = tmp_path / "remote"
    for category in ("All_Beauty", "Video_Games"):
        reviews = [
            {"user_id": f"AF{n % 40:026d}", "parent_asin": f"B0000000{n % 13:02d}", "rating": 5.0, "timestamp": n}
            | {"text": "word " * 200}
            for n in range(400)
        ]
        items = [{"parent_asin": f"B0000000{n:02d}", "title": f"{category} {n}"} for n in range(13)]
        for path, rows in ((f"review_categories/{category}", reviews), (f"meta_categories/meta_{category}", items)):
            file = root / "raw" / f"{path}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = Hub(root)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("keeper")
def test_a_cancelled_download_goes_on_from_its_bytes(hub: Hub) -> None:
    hub.hold_after = 100_000
    task = enqueue_download("pair", "All_Beauty", "Video_Games", options=PrepareOptions(k_core=2))
    assert task.config()["command"] == (
        "crossrec data download pair --source All_Beauty --target Video_Games --k-core 2"
    )

    def held() -> bool:
        return any(part.stat().st_size == 100_000 for part in paths.downloads().rglob("*.part"))

    until(held)
    assert "fetching All_Beauty.jsonl, file 1 of 4" in task.shown()["doing"]
    queue.cancel(task)
    until(lambda: task.state == "stopped")
    assert list_datasets() == []
    hub.go_on.set()
    queue.resume(task)
    until(lambda: task.state not in ("queued", "running"))
    assert task.state == "finished", task.shown()
    spans = [span for path, span in hub.gets() if path.endswith("review_categories/All_Beauty.jsonl")]
    assert spans == [None, "bytes=100000-"]
    assert task.shown()["counts"]["overlap_users"] == 40 and DomainPair.open("pair").target.label == "Video Games"


# --- in this process --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_keeper")
def test_of_two_imports_of_one_name_one_wins(files: tuple[Path, Path]) -> None:
    told: list[Any] = []

    def ask() -> None:
        try:
            told.append(enqueue_files("pair", *files))
        except CrossrecError as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (task,) = [one for one in told if isinstance(one, Task)]
    assert {one for one in told if one is not task} == {
        "An import of 'pair' is under way: wait for it, cancel it, or choose another name."
    }
    carry_out(task.folder)
    with pytest.raises(CrossrecError, match="The dataset 'pair' exists"):
        enqueue_files("pair", *files)
    again = enqueue_files("pair", *files, replace=True, options=PrepareOptions(k_core=3))
    assert again.name == "pair-2" and again.config()["command"].endswith("--k-core 3 --replace")
    carry_out(again.folder)
    assert [one.name for one in list_imports()] == ["pair-2", "pair"]


@pytest.mark.usefixtures("no_keeper")
def test_a_dataset_made_meanwhile_is_not_overwritten(files: tuple[Path, Path]) -> None:
    task = enqueue_files("pair", *files)
    (paths.datasets() / "pair").mkdir(parents=True)
    (paths.datasets() / "pair" / "mine").touch()
    with pytest.raises(CrossrecError, match="exists"):
        carry_out(task.folder)
    assert task.state == "failed" and (paths.datasets() / "pair" / "mine").exists()


@pytest.mark.usefixtures("no_keeper")
@pytest.mark.parametrize("where", ["crossrec.data.work.folders.write_parquet", "crossrec.runs.imports.open_split"])
def test_a_full_disk_is_one_sentence_and_the_import_can_be_run_again(
    files: tuple[Path, Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = enqueue_files("pair", *files)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(CrossrecError):
            carry_out(task.folder)
    assert task.state == "failed" and "is full: free some space" in task.shown()["error"]
    assert hidden() == []
    assert bool(list_datasets()) == ("split" in where)
    queue.resume(task)
    carry_out(task.folder)
    assert task.finished and task.shown()["split"]["test"] == 12


@pytest.mark.usefixtures("no_keeper")
def test_an_import_that_was_stopped_after_its_last_step_is_not_made_twice(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = enqueue_files("pair", *files)

    def stopped(*_: Any, **how: Any) -> None:
        imports_pair(*_, **how)
        raise Stopped("It was stopped.")

    imports_pair = imports.import_pair
    with monkeypatch.context() as patch:
        patch.setattr(imports, "import_pair", stopped)
        with pytest.raises(Stopped):
            carry_out(task.folder)
    assert task.state == "stopped" and len(list_datasets()) == 1
    queue.resume(task)
    carry_out(task.folder)
    assert task.finished and task.shown()["split"]["test"] == 12 and task.shown()["counts"]["users"] == 12


@pytest.mark.usefixtures("no_keeper")
def test_a_defect_is_told_and_its_traceback_is_in_the_log(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = enqueue_files("pair", *files)
    monkeypatch.setattr(imports, "import_pair", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        carry_out(task.folder)
    assert task.shown()["error"] == "ZeroDivisionError: see the log"
    assert "Traceback" in task.log() and list_datasets() == []


@pytest.mark.usefixtures("no_keeper")
def test_a_wish_that_a_library_has_swallowed_still_stops_it(files: tuple[Path, Path]) -> None:
    task = enqueue_files("pair", *files)
    stop = Stop()
    stop.wished = True
    with pytest.raises(Stopped, match="crossrec data resume pair"):
        carry_out(task.folder, stop)
    assert task.state == "stopped" and list_datasets() == []


@pytest.mark.usefixtures("no_keeper")
def test_data_that_cannot_be_split_are_imported_all_the_same(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a.csv", lines("m")), write(tmp_path / "b.csv", lines("s", each=1))
    task = enqueue_files("pair", source, target)
    carry_out(task.folder)
    assert task.finished and task.shown()["split"]["note"] == imports.UNTESTED
    assert DomainPair.open("pair").n_users == 12


@pytest.mark.usefixtures("no_keeper")
def test_the_command_says_all_that_was_asked(files: tuple[Path, Path], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from crossrec import cli

    own = tmp_path / "my own.csv"
    own.write_text(files[0].read_text().replace("user_id", "who").replace("item_id", "what"))
    asked = {
        "read": (ReadOptions(user_column="who", item_column="what"), ReadOptions()),
        "options": PrepareOptions(2, True, 50, 10, 1.5, 3),
        "labels": ("Films & series", "Songs"),
    }
    task = enqueue_files("pair", own, files[1], **asked)
    words = shlex.split(task.config()["command"])
    queue.cancel(task)
    assert words[:2] == ["crossrec", "data"]
    result = CliRunner().invoke(cli.app, [*dashed(words[1:]), "--queue", "--json"])
    assert result.exit_code == 0, result.output
    again = open_import("pair-2")
    same = ("kind", "dataset", "files", "read", "options", "labels", "replace", "command")
    assert {key: again.config()[key] for key in same} == {key: task.config()[key] for key in same}
    carry_out(again.folder)
    assert DomainPair.open("pair").source.label == "Films & series"


@pytest.mark.usefixtures("no_keeper")
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "../x"}, "cannot name a dataset"),
        ({"source": "missing.csv"}, "missing"),
        ({"target": "nothing.csv"}, "no column known as the user's id"),
        ({"read": ReadOptions(user_column="who")}, "no column 'who' for the user"),
    ],
)
def test_what_is_wrong_is_told_before_anything_waits(
    files: tuple[Path, Path], tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    (tmp_path / "nothing.csv").write_text("a,b\n1,2\n")
    wrong = {key: tmp_path / word if key in ("source", "target") else word for key, word in wrong.items()}
    with pytest.raises(CrossrecError, match=told):
        enqueue_files(**{"name": "pair", "source": files[0], "target": files[1]} | wrong)
    with pytest.raises(CrossrecError, match="Did you mean 'Video_Games'"):
        enqueue_download("pair", "All_Beauty", "Video_Gamse")
    assert list_imports() == []


# --- uploads and the inbox --------------------------------------------------------------------------------------------


def upload(path: Path, role: str, name: str | None = None) -> Path:
    with path.open("rb") as file:
        return incoming.store_upload(file, name or path.name, role)


@pytest.mark.usefixtures("no_keeper")
def test_an_upload_has_a_name_of_ours_and_is_removed_once_imported(files: tuple[Path, Path]) -> None:
    source, target = upload(files[0], "source", "../../etc/my films.csv"), upload(files[1], "target")
    assert source.name == "source.csv" and source.parent.parent == incoming.uploads()
    called = {"source": "../../etc/my films.csv", "target": "music.csv"}
    task = enqueue_files("pair", source, target, labels=("Films", "Songs"), called=called)
    assert task.config()["kind"] == "upload"
    assert "--source 'my films.csv' --target music.csv" in task.config()["command"]
    (other := incoming.uploads() / "left").mkdir()
    os.utime(other, (0, 0))
    os.utime(source.parent, (0, 0))
    incoming.clear_uploads()
    assert source.exists() and not other.exists()
    carry_out(task.folder)
    assert task.finished and not source.parent.exists() and not target.parent.exists()


@pytest.mark.usefixtures("no_keeper")
def test_a_forgotten_import_takes_its_uploads_along_but_no_other_file(files: tuple[Path, Path]) -> None:
    source = upload(files[0], "source")
    task = enqueue_files("pair", source, files[1])
    queue.cancel(task)
    forget(task)
    assert not source.parent.exists() and files[1].exists() and list_imports() == []


@pytest.mark.usefixtures("home")
def test_an_upload_is_bounded_and_leaves_nothing_when_refused(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CrossrecError, match=r"'evil.pkl' cannot be read: upload one of \.csv"):
        upload(files[0], "source", "evil.pkl")
    with pytest.raises(CrossrecError, match="cannot be read"):
        upload(files[0], "../source")
    monkeypatch.setattr(incoming, "UPLOAD_BYTES", 100)
    with pytest.raises(CrossrecError, match="is above 0 MB"):
        upload(files[0], "source")
    monkeypatch.setattr(incoming, "UPLOAD_BYTES", 1 << 20)
    monkeypatch.setattr(incoming, "UPLOADS_BYTES", 100)
    with pytest.raises(CrossrecError, match="Too many uploads"):
        upload(files[0], "source")
    assert list(incoming.uploads().iterdir()) == []


def test_the_limit_of_an_upload_is_that_of_the_server() -> None:
    import tomllib

    config = Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml"
    assert tomllib.loads(config.read_text())["server"]["maxUploadSize"] << 20 == incoming.UPLOAD_BYTES


HOSTILE = {
    "html.csv": b"<html><script>alert(1),2</script></html>\n<p>a, b</p>\n",
    "binary.csv": bytes(range(256)) * 40,
    "pickle.csv": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "no_columns.csv": b"a,b\n1,2\n",
    "one_field.csv": b"user_id,item_id\n" + b"a" * 300_000 + b",b\n",
    "deep.jsonl": b'{"a":' * 300_000 + b"\n",
    "digits.jsonl": b'{"user_id": ' + b"9" * 100_000 + b"}\n",
    "empty.csv": b"",
    "cut.csv.gz": gzip.compress(HEADER.encode() * 900)[:-20],
    "twice.csv": b"user_id,user_id,item_id\na,b,c\n",
    "long_line.csv": b"user_id,item_id\na,b\n" + b"a" * (80 << 20),
    "bomb.csv.gz": gzip.compress(HEADER.encode() + b"a,b,1,2\n" * 3_000_000),
    "wide.csv": b",".join(b"x" * 3000 + str(n).encode() for n in range(500)),
    "damaged.parquet": b"PAR1" + b"x" * 100 + b"PAR1",
}


@pytest.mark.usefixtures("no_keeper")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence(name: str, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "UNPACKED_BYTES", 16 << 20)
    path = incoming.store_upload(io.BytesIO(HOSTILE[name]), name, "source")
    called = "my own " + name
    with pytest.raises(CrossrecError) as told:
        carry_out(enqueue_files("pair", path, upload(files[1], "target"), called={"source": called}).folder)
    assert str(told.value).startswith((path.name, called)) and len(str(told.value)) < 1000
    assert all(called in task.shown()["error"] for task in list_imports())
    assert "\n" not in str(told.value), str(told.value)
    assert list_datasets() == [] and hidden() == []


def test_the_inbox_lists_its_own_files_only(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert incoming.inbox() == home / "inbox" and incoming.inbox_files() == []
    folder = tmp_path / "given"
    monkeypatch.setenv("CROSSREC_IMPORT_FOLDER", str(folder))
    (folder / "below.csv").mkdir(parents=True)
    secret = write(tmp_path / "secret.csv", lines("m"))
    (folder / "out.csv").symlink_to(secret)
    for name in ("b.csv", "a.JSONL.gz", ".hidden.csv", "notes.txt", "all*.csv"):
        write(folder / name, lines("m"))
    (folder / "within.csv").symlink_to(folder / "b.csv")
    assert incoming.inbox_files() == ["a.JSONL.gz", "b.csv", "within.csv"]
    assert incoming.inbox_file("b.csv") == folder / "b.csv"
    for name in ("out.csv", "../secret.csv", str(secret), "below.csv", ""):
        with pytest.raises(CrossrecError, match="choose one that is listed"):
            incoming.inbox_file(name)
