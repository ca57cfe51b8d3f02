"""The map of items: two directions by hand, the mixture of domains, and a task that makes it once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError
from crossrec.runs import item_map, queue


def test_the_plane_is_that_of_the_two_widest_directions() -> None:
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(400, 5)) * [0.1, 3.0, 0.1, 1.5, 0.1] + 7
    at, shown = item_map.plane(wide.astype(np.float32))
    assert at.shape == (400, 2)
    assert abs(np.corrcoef(at[:, 0], wide[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(at[:, 1], wide[:, 3])[0, 1]) > 0.99
    variances = wide.var(axis=0)
    assert shown == pytest.approx((variances[1] + variances[3]) / variances.sum(), abs=0.01)
    # The sign of a direction is no matter of chance.
    assert np.allclose(item_map.plane(wide[::-1].astype(np.float32))[0][::-1], at, atol=1e-3)
    assert item_map.plane(np.ones((4, 3), np.float32))[1] == 0


def test_the_mixture_tells_alike_from_apart() -> None:
    rng = np.random.default_rng(5)
    first = np.arange(600) < 200
    alike = rng.normal(size=(600, 8)).astype(np.float32)
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    mixed, expected = item_map.mixture(alike, first)
    assert expected == pytest.approx((400 / 599 + 200 / 599) / 2)
    assert mixed == pytest.approx(expected, abs=0.05)
    apart = alike.copy()
    apart[:, 0] += np.where(first, 5, -5)
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    assert item_map.mixture(apart, first)[0] == 0


def test_it_is_made_once_as_a_task(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)  # what the keeper would start is done here
    assert item_map.of("tiny") is None
    task = item_map.enqueue("tiny")
    assert item_map.enqueue("tiny").name == task.name and len(queue.tasks("map")) == 1
    item_map.carry_out(task.folder)
    assert item_map.enqueue("tiny").state == "finished" and len(queue.tasks("map")) == 1
    found, pair = item_map.read(task), DomainPair.open("tiny")
    assert list(found.items) == ["which", "item", "title", "category", "x", "y"]
    assert not found.items.duplicated(["which", "item"]).any()
    for which in ("source", "target"):
        own = found.items[found.items["which"] == which]
        titles = pair.items(which).set_index("item")["title"]
        assert own["title"].tolist() == titles.loc[own["item"]].tolist()
    assert 0 < found.shown <= 1 and found.mixed is not None and 0 <= found.mixed <= 1
    placed = item_map.place(found, "target", [3, 1, 10**6])
    assert placed["item"].tolist() == [3, 1]
    assert not {"user", "user_id"} & set(found.items)


def test_another_content_of_the_dataset_needs_another_map(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)
    task = item_map.enqueue("tiny")
    item_map.carry_out(task.folder)
    file = paths.datasets() / "tiny" / "dataset.json"
    file.write_text(file.read_text().replace(DomainPair.open("tiny").meta["hash"], "0" * 64))
    assert item_map.of("tiny") is None


def test_without_words_there_is_no_map(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)
    frame = pd.DataFrame({"user_id": list("aabb"), "item_id": list("xyxz"), "time": [1, 2, 3, 4]})
    write_tables("bare", {"target": frame}, {}, labels=("", "Mine"))
    task = item_map.enqueue("bare")
    with pytest.raises(CrossrecError, match="Nothing is written about the items of 'bare'"):
        item_map.carry_out(task.folder)
    assert task.state == "failed" and "Nothing is written" in task.status()["error"]
    assert item_map.enqueue("bare").name != task.name  # another try is another task
    with pytest.raises(CrossrecError):
        item_map.enqueue("nothing")
