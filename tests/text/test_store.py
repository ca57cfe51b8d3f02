"""The store: each text once, nothing lost but the chunk in work, nothing half-written, one writer at a time."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.text import store as stores
from crossrec.text.store import VectorStore, hashes

Make = Callable[..., Any]
TEXTS = [f"text number {i}" for i in range(60)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(stores, "CHUNK", 8)
    monkeypatch.setattr(stores, "SLICE", 4)


def opened() -> VectorStore:
    return VectorStore.open("counting-1-f32", 4)


def right(store: VectorStore, encoder: Any, texts: list[str]) -> None:
    """Every text's row holds the vector of that text."""
    rows = store.rows(texts)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(store.table[rows], [encoder.of(text).astype(np.float16) for text in texts])


def test_each_text_is_encoded_once(counting: Make) -> None:
    encoder, store = counting(), opened()
    assert store.add(["b", "a", "b", "", "a"], encoder) == 2
    assert sorted(encoder.seen) == ["a", "b"]
    assert store.rows(["a", "", "c", "b", "a"]).tolist() == [1, -1, -1, 0, 1]  # rows in the order of the texts
    assert store.add(["c", "a", "c"], encoder) == 1
    assert encoder.seen[2:] == ["c"]
    assert len(store) == 3
    right(store, encoder, ["a", "b", "c"])


def test_another_opening_finds_everything(counting: Make) -> None:
    encoder = counting()
    assert opened().add(TEXTS, encoder) == 60
    store = opened()
    assert store.add(TEXTS, encoder) == 0
    assert len(encoder.seen) == 60
    right(store, encoder, TEXTS)
    assert store.table.dtype == np.float16
    assert isinstance(store.table, np.memmap)
    assert not store.table.flags.writeable


def test_an_empty_store() -> None:
    store = opened()
    assert (len(store), store.table.shape) == (0, (0, 4))
    assert store.rows(["a", ""]).tolist() == [-1, -1]
    assert store.rows([]).shape == (0,)


def test_a_chunk_is_held_and_not_more(counting: Make) -> None:
    """A stream of texts is read as far as the chunk in work, so that a dataset of any size fits the memory."""
    encoder, store = counting(), opened()
    taken = 0

    def stream() -> Iterator[str]:
        nonlocal taken
        for text in TEXTS:
            taken += 1
            yield text

    seen_at_write = []
    write = store._append
    store._append = lambda *a: (seen_at_write.append(taken), write(*a))[1]  # type: ignore[method-assign]
    assert store.add(stream(), encoder, total=60) == 60
    assert seen_at_write[0] <= 12
    assert len(seen_at_write) >= 6
    right(store, encoder, TEXTS)


def test_similar_lengths_go_together(counting: Make) -> None:
    encoder, store = counting(), opened()
    texts = ["x" * n for n in (1, 50, 2, 60, 3, 70, 4, 80)]
    store.add(texts, encoder)
    assert [len(text) for text in encoder.seen] == [80, 70, 60, 50, 4, 3, 2, 1]
    assert store.rows(texts).tolist() == list(range(8))


# --- interrupts -------------------------------------------------------------------------------------------------------


def test_an_interrupt_loses_the_chunk_in_work_only(counting: Make) -> None:
    broken = counting(fails_at=22)
    with pytest.raises(KeyboardInterrupt):
        opened().add(TEXTS, broken)
    kept = len(opened())
    assert kept == 16  # two chunks of 8; 4 texts of the third were encoded and are lost
    encoder = counting()
    store = opened()
    assert store.add(TEXTS, encoder) == 60 - kept
    assert set(encoder.seen).isdisjoint(broken.seen[:kept])
    right(store, encoder, TEXTS)


def test_a_killed_process_keeps_its_chunks_and_lets_go_of_the_lock(counting: Make) -> None:
    child = os.fork()
    if not child:
        encoder = counting(fails_at=22)
        try:
            opened().add(TEXTS, encoder)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # in the third chunk, with the lock in hand
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    encoder, store = counting(), opened()
    assert len(store) == 16
    assert store.add(TEXTS, encoder) == 44
    right(store, encoder, TEXTS)


def test_an_interrupt_between_rows_and_hashes(counting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = counting()
    opened().add(TEXTS[:10], encoder)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            opened().add(TEXTS, encoder)
    data = paths.vectors() / "counting-1-f32" / "vectors.f16"
    assert data.stat().st_size > 10 * 8  # the rows came to the disk, their hashes did not
    store = opened()
    assert (len(store), data.stat().st_size) == (10, 10 * 8)
    store.add(TEXTS, encoder)
    right(store, encoder, TEXTS)


@pytest.mark.parametrize("extra", [3, 19, 40])
@pytest.mark.parametrize("name", ["vectors.f16", "hashes.b16"])
def test_a_torn_tail_is_healed(name: str, extra: int, counting: Make) -> None:
    encoder = counting()
    opened().add(TEXTS[:10], encoder)
    folder = paths.vectors() / "counting-1-f32"
    with (folder / name).open("ab") as file:
        file.write(b"\x07" * extra)
    store = opened()
    assert len(store) == 10
    assert (folder / "vectors.f16").stat().st_size == 10 * 4 * 2
    assert (folder / "hashes.b16").stat().st_size == 10 * 16
    store.add(TEXTS, encoder)
    assert len(encoder.seen) == 60
    right(opened(), encoder, TEXTS)


def test_a_store_that_was_torn_while_open_is_healed_before_writing(counting: Make) -> None:
    encoder, store = counting(), opened()
    store.add(TEXTS[:10], encoder)
    with (store.folder / "vectors.f16").open("ab") as file:
        file.write(b"\x07" * 9)
    store.add(TEXTS, encoder)
    right(store, encoder, TEXTS)
    right(opened(), encoder, TEXTS)


def test_a_reader_sees_whole_rows_and_leaves_the_writer_alone(counting: Make) -> None:
    encoder = counting()
    opened().add(TEXTS[:10], encoder)
    folder = paths.vectors() / "counting-1-f32"
    with FileLock(folder / "lock"):  # a writer in the middle of its chunk
        with (folder / "vectors.f16").open("ab") as file:
            file.write(b"\x07" * (8 + 3))
        reader = opened()
        assert (len(reader), reader.table.shape) == (10, (10, 4))
        assert (folder / "vectors.f16").stat().st_size == 10 * 8 + 11  # what it wrote is still there
    right(reader, encoder, TEXTS[:10])


def test_a_store_that_was_made_again_is_read_again(counting: Make) -> None:
    encoder, store = counting(), opened()
    store.add(TEXTS, encoder)
    for name in ("vectors.f16", "hashes.b16"):
        (store.folder / name).unlink()
    other = opened()
    other.add(["one", "two"], encoder)
    store.refresh()
    assert len(store) == 2
    assert store.rows(TEXTS).max() == -1
    right(store, encoder, ["two", "one"])


# --- two at a time ----------------------------------------------------------------------------------------------------


def test_the_second_sees_what_the_first_wrote(counting: Make) -> None:
    encoder, first, second = counting(), opened(), opened()
    first.add(TEXTS[:30], encoder)
    assert len(second) == 0
    assert second.add(TEXTS, encoder) == 30
    assert len(encoder.seen) == 60
    right(second, encoder, TEXTS)
    first.refresh()
    right(first, encoder, TEXTS)


def test_several_writers_take_turns(counting: Make) -> None:
    encoders = [counting() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda encoder: opened().add(TEXTS, encoder), encoders))
    assert sum(counts) == 60
    assert sorted(text for encoder in encoders for text in encoder.seen) == sorted(TEXTS)
    right(opened(), encoders[0], TEXTS)


def test_waiting_for_another_is_told(counting: Make) -> None:
    events: list[dict[str, Any]] = []
    lock = FileLock(paths.vectors() / "counting-1-f32" / "lock", thread_local=False)
    store, encoder = opened(), counting()
    lock.acquire()

    def heard(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "note":
            lock.release()

    assert store.add(["a"], encoder, heard) == 1
    assert [event["event"] for event in events] == ["note", "encode"]
    assert "waiting" in events[0]["text"]


# --- events, values, and what is refused ------------------------------------------------------------------------------


def test_events_count_to_the_end(counting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1000, 0.6).tolist())
    monkeypatch.setattr(stores.time, "monotonic", lambda: next(clock))
    events: list[dict[str, Any]] = []
    opened().add([*TEXTS, *TEXTS, ""], counting(), events.append)
    done = [event["done"] for event in events]
    assert {event["event"] for event in events} == {"encode"}
    assert {event["total"] for event in events} == {60}
    assert len(done) > 3
    assert done == sorted(set(done))
    assert done[-1] == 60
    for event in events:
        assert event["eta"] == pytest.approx(event["seconds"] / event["done"] * (60 - event["done"]))


def test_nothing_to_do_is_told_once(counting: Make) -> None:
    encoder, store = counting(), opened()
    store.add(["a"], encoder)
    events: list[dict[str, Any]] = []
    assert store.add(["a", ""], encoder, events.append) == 0
    assert [(event["done"], event["total"]) for event in events] == [(0, 0)]


def test_half_precision_and_its_limits(counting: Make) -> None:
    encoder, store = counting(), opened()
    encoder.of = lambda text: np.array([1 / 3, 1e9, -1e9, 1e-30], np.float32)
    store.add(["a"], encoder)
    np.testing.assert_array_equal(store.table[0], np.array([1 / 3, 65504, -65504, 0], np.float16))


@pytest.mark.parametrize("wrong", [np.full(4, np.nan, np.float32), np.zeros(5, np.float32)])
def test_vectors_that_cannot_be_right_are_refused(wrong: Any, counting: Make) -> None:
    encoder, store = counting(), opened()
    encoder.of = lambda text: wrong
    with pytest.raises(CrossrecError, match="finite"):
        store.add(["a"], encoder)
    assert len(opened()) == 0


def test_another_encoder_is_refused(counting: Make) -> None:
    encoder, store = counting(), opened()
    encoder.key = "other"
    with pytest.raises(ValueError, match="other"):
        store.add(["a"], encoder)


def test_a_folder_of_other_vectors_is_refused() -> None:
    opened()
    with pytest.raises(CrossrecError, match="other vectors"):
        VectorStore.open("counting-1-f32", 5)
    with pytest.raises(CrossrecError, match="not a path"):
        VectorStore.open("../elsewhere", 4)


def test_data_without_its_header_is_not_taken_for_ours(counting: Make) -> None:
    store = opened()
    store.add(["a"], counting())
    (store.folder / "store.json").unlink()
    with pytest.raises(CrossrecError, match=r"store\.json is missing"):
        opened()


def test_a_disk_that_cannot_be_written(counting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store = opened()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CrossrecError, match="No space left on device"):
            store.add(["a"], counting())
    encoder = counting()
    assert store.add(["b"], encoder) == 1
    right(store, encoder, ["b"])


@given(st.lists(st.text(alphabet="ab\0é\ud800", max_size=3)))
def test_hashes_tell_texts_apart(texts: list[str]) -> None:
    found = hashes(texts)
    assert len(set(found.tolist())) == len({text.encode("utf-8", "replace") for text in texts})
    assert [not mark for mark in found] == [not text for text in texts]
