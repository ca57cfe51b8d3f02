"""The section that brings data: what it shows, what it starts, and what it refuses, without a browser."""

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.ui import bring_data, bring_list
from crossrec import paths
from crossrec.data.prepare import list_datasets
from crossrec.errors import CrossrecError
from crossrec.runs import imports, incoming, queue
from crossrec.runs.imports import list_imports

HEADER = "user_id,item_id,rating,timestamp\n"
APP = """
import streamlit as st
from app.ui import bring_data
from app.ui.errors import as_sentence

def bring():
    with as_sentence():
        bring_data.section()

pages = [st.Page({root!r} + f"/pages/{{name}}.py", url_path=name) for name in ("explore", "train")]
st.navigation([st.Page(bring, default=True, title="Bring"), *pages]).run()
"""


def rows(which: str) -> str:
    return "".join(f"u{u},{which}{(u + i) % 7},4,{1_600_000_000 + i}\n" for u in range(9) for i in range(4))


FILMS, SONGS = (HEADER + rows("m")).encode(), (HEADER + rows("s")).encode()


@pytest.fixture
def waits(empty_home, monkeypatch):
    """What is put into the queue waits until the test carries it out."""
    monkeypatch.setattr(queue, "keep", lambda: None)


@pytest.fixture
def at(tmp_path_factory, empty_home):
    main = tmp_path_factory.mktemp("app") / "main.py"
    main.write_text(APP.format(root=str(Path(__file__).resolve().parents[2])))
    return run(AppTest.from_file(str(main), default_timeout=60))


def run(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def choose(at: AppTest, way: str) -> AppTest:
    at.segmented_control(key="bring_way").set_value(way)
    return run(at)


def upload(at: AppTest, role: str, name: str, data: bytes, turn: int = 0) -> AppTest:
    at.file_uploader(key=f"bring_up_{role}_{turn}").upload(name, data)
    return run(at)


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click()
    return run(at)


def words(at: AppTest) -> str:
    kinds = (at.header, at.markdown, at.caption, at.success, at.info, at.warning, at.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def keys(at: AppTest) -> set[str]:
    return {button.key for button in at.button}


@pytest.mark.usefixtures("waits")
def test_two_uploads_become_a_dataset_once(at):
    assert "bring_start" not in keys(at) and "Give a file of the target domain" in words(at)
    upload(at, "source", "my films.csv", FILMS)
    upload(at, "target", "songs.csv", SONGS)
    assert "CSV: user id from user\\_id, item id from item\\_id" in words(at)
    at.number_input(key="bring_files_core").set_value(2)
    at.toggle(key="bring_files_both").set_value(True)
    run(at)
    command = next(code.value for code in at.code)
    assert command == (
        "crossrec data import my-films-songs --source 'my films.csv' --target songs.csv --source-label 'My films' "
        "--target-label Songs --k-core 2 --overlap-only"
    )
    press(at, "bring_start")
    (task,) = list_imports()
    assert task.config()["command"] == command and task.config()["kind"] == "upload"
    assert {Path(path).name for path in task.config()["files"].values() if path} == {"source.csv", "target.csv"}
    assert "waits for its turn" in words(at) and "bring_start" not in keys(at)
    upload(at, "target", "songs.csv", SONGS, turn=1)
    at.text_input(key="bring_name").set_value("my-films-songs")
    run(at)
    assert "An import of 'my-films-songs' is under way" in words(at)
    press(at, "bring_start")
    assert len(list_imports()) == 1
    imports.carry_out(task.folder)
    run(at)
    assert "9 people, 9 of them in both, 36 events of My films and 36 events of Songs." in words(at)
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["Explore it"] == links["Train on it"] == "data=my-films-songs"
    press(at, "bring_forget_my-films-songs")
    assert list_imports() == [] and len(list_datasets()) == 1
    assert "The dataset 'my-films-songs' exists" in words(at)


@pytest.mark.usefixtures("waits")
def test_a_mapping_settles_columns_that_are_not_recognised(at):
    odd = SONGS.replace(b"user_id", b"who").replace(b"item_id", b"what")
    upload(at, "target", "songs.csv", odd)
    assert "choose the columns of the user's and the item's id" in words(at)
    assert "bring_start" not in keys(at)
    for role, column in (("user", "who"), ("item", "what")):
        next(one for one in at.selectbox if one.key.endswith(f"_{role}")).set_value(column)
    run(at)
    press(at, "bring_start")
    (task,) = list_imports()
    assert task.config()["read"][1]["user_column"] == "who" and task.config()["files"]["source"] is None
    imports.carry_out(task.folder)
    run(at)
    assert "Songs, 9 people, 36 events." in words(at)


@pytest.mark.usefixtures("waits")
def test_an_upload_is_stored_once_and_removed_with_its_file(at):
    upload(at, "target", "songs.csv", SONGS)
    (first,) = incoming.uploads().iterdir()
    run(at)
    assert list(incoming.uploads().iterdir()) == [first]
    upload(at, "target", "films.csv", FILMS)
    (second,) = incoming.uploads().iterdir()
    assert second != first
    at.file_uploader(key="bring_up_target_0").clear()
    run(at)
    assert list(incoming.uploads().iterdir()) == []


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv", b"\x00\x01\x02,\x03\n" * 9, "a.csv is no text in UTF-8"),
        ("a.csv", b"", "a.csv is empty"),
        ("a.parquet", b"PAR1xxxx", "a.parquet is a damaged Parquet file"),
    ],
)
def test_a_file_that_is_no_data_is_one_sentence(at, name, data, told):
    upload(at, "target", name, data)
    assert told in words(at).replace("\\", "")
    assert "bring_start" not in keys(at) and list_imports() == []


@pytest.mark.usefixtures("waits")
def test_only_what_the_inbox_lists_can_be_chosen(at, tmp_path, monkeypatch):
    choose(at, bring_data.DISK)
    assert "Put files of events into" in words(at)
    incoming.inbox().mkdir(parents=True)
    (incoming.inbox() / "songs.csv").write_bytes(SONGS)
    (incoming.inbox() / "notes.txt").write_text("x")
    run(at)
    box = at.selectbox(key="bring_disk_target")
    assert box.options == ["songs.csv"]
    box.set_value("songs.csv")
    run(at)
    press(at, "bring_start")
    (task,) = list_imports()
    assert task.config()["kind"] == "files" and task.config()["files"]["target"] == "inbox/songs.csv"
    imports.carry_out(task.folder)
    assert (incoming.inbox() / "songs.csv").exists() and task.finished


@pytest.mark.usefixtures("waits")
def test_a_download_is_cancelled_run_again_and_its_failure_told(at, monkeypatch):
    choose(at, bring_data.HUB)
    at.selectbox(key="bring_hub_target").set_value("All_Beauty")
    run(at)
    assert "Source and target are both 'All\\_Beauty': name two categories." in words(at)
    assert "bring_start" not in keys(at)
    at.selectbox(key="bring_hub_target").set_value("Gift_Cards")
    at.selectbox(key="bring_subset").set_value("5core")
    run(at)
    press(at, "bring_start")
    press(at, "bring_start")
    (task,) = list_imports()
    assert task.config()["command"] == (
        "crossrec data download all-beauty-gift-cards --source All_Beauty --target Gift_Cards --subset 5core "
        "--max-items 300000"
    )
    press(at, "bring_cancel_all-beauty-gift-cards")
    assert "was cancelled" in words(at)
    press(at, "bring_resume_all-beauty-gift-cards")
    assert "waits for its turn" in words(at)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("crossrec.data.hub.PAUSE", 0.0)
    with pytest.raises(CrossrecError):
        imports.carry_out(task.folder)
    run(at)
    assert any("The connection to http://127.0.0.1:9 failed" in one.value for one in at.warning)
    assert {"bring_resume_all-beauty-gift-cards", "bring_forget_all-beauty-gift-cards"} <= keys(at)


def test_progress_is_told_in_words():
    fetching = {
        "state": "running",
        "doing": "fetching a.jsonl, file 1 of 4",
        "bytes": 1_500_000,
        "bytes_total": 3_000_000,
    }
    assert bring_list._doing(fetching) == "fetching a.jsonl, file 1 of 4: 1.5 of 3.0 MB"
    assert bring_list._doing({"state": "stopping", "doing": "reading"}) == "stopping"
    assert bring_list._doing({"state": "running", "doing": "reading a.csv", "bytes": None}) == "reading a.csv"


def test_a_real_import_goes_by_itself(at):
    upload(at, "source", "films.csv", FILMS)
    upload(at, "target", "songs.csv", SONGS)
    press(at, "bring_start")
    end = time.monotonic() + 120
    while not (paths.datasets() / "films-songs" / "splits" / "next-item-0.json").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    while not list_imports()[0].finished:
        assert time.monotonic() < end
        time.sleep(0.05)
    run(at)
    assert "finished" in words(at) and "9 people, 9 of them in both" in words(at)
    assert list(incoming.uploads().iterdir()) == []
