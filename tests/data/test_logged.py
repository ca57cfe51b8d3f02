"""Feedback logs that were made ready for a dataset."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec import paths
from crossrec.data.logged import StoredLog, list_logs, open_log, remove_log, save_log
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError

META = {"origin": "a test", "rewards": {"click": 0.3, "skip": 0.0}, "left_out": {}}


@pytest.fixture
def tiny_pair(home: Path, make_pair: Callable[..., DomainPair]) -> DomainPair:
    """Two users; the artifacts folder is empty."""
    return make_pair([[1], [2]], [[1, 2, 3], [2]], folder=Path("two"))


def slates() -> pd.DataFrame:
    return pd.DataFrame(
        {"session": ["a", "b"], "user": [0, -1], "policy": ["p", None], "candidates": [np.array([1, 2, 3]), None]}
    )


def events() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "slate": [1, 0, 0],
            "position": [-1, 1, 0],
            "item": [3, 2, 1],
            "propensity": [np.nan, 0.5, 0.25],
            "action": ["click", "skip", None],
            "reward": [0.3, 0.0, 1.0],
            "time": [None, 2, 1],
        }
    )


def save(pair: DomainPair, name: str = "one", replace: bool = False) -> StoredLog:
    return save_log(name, pair, slates(), events(), META, replace)


def test_a_log_comes_back_as_it_was_in_order(tiny_pair: DomainPair) -> None:
    log = save(tiny_pair)
    assert list(log.events["slate"]) == [0, 0, 1] and list(log.events["item"]) == [1, 2, 3]
    assert list(log.slates["session"]) == ["a", "b"] and list(log.slates["user"]) == [0, -1]
    assert log.slates["candidates"][0].tolist() == [1, 2, 3] and log.slates["candidates"][1] is None
    assert not log.known and log.events["propensity"][2] != log.events["propensity"][2]
    assert log.meta["events"] == 3 and log.meta["sessions"] == 2 and log.meta["dataset"] == tiny_pair.name
    log.check(tiny_pair)


def test_a_log_of_other_data_is_told(tiny_pair: DomainPair) -> None:
    log = save(tiny_pair)
    with pytest.raises(CrossrecError, match="import it again"):
        replace(log, meta=log.meta | {"dataset_hash": "other"}).check(tiny_pair)


def test_names_are_taken_once_and_found_again(tiny_pair: DomainPair) -> None:
    save(tiny_pair)
    with pytest.raises(CrossrecError, match="already"):
        save(tiny_pair)
    save(tiny_pair, replace=True)
    save(tiny_pair, "two")
    assert set(list_logs()) == set(list_logs(tiny_pair.name)) == {"one", "two"} and not list_logs("other")
    with pytest.raises(CrossrecError, match="Did you mean 'one'"):
        open_log("onne")
    remove_log("one")
    assert list_logs() == ["two"]
    with pytest.raises(CrossrecError, match="no log"):
        remove_log("one")
    with pytest.raises(CrossrecError, match="cannot name a log"):
        open_log("../runs")


@pytest.mark.parametrize(("column", "value"), [("item", 0), ("item", 10_000), ("slate", 2)])
def test_numbers_out_of_range_leave_nothing_behind(tiny_pair: DomainPair, column: str, value: int) -> None:
    wrong = events()
    wrong.loc[0, column] = value
    with pytest.raises(CrossrecError, match="not have"):
        save_log("wrong", tiny_pair, slates(), wrong, META)
    assert not list_logs() and not list(paths.logs().glob("*")) and not list(paths.logs().glob(".*"))


def test_an_empty_log_is_none(tiny_pair: DomainPair) -> None:
    with pytest.raises(CrossrecError, match="without an event"):
        save_log("empty", tiny_pair, slates(), events()[:0], META)
