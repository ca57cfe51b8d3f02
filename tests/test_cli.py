"""The command line: exit codes, one sentence for a failure, and JSON and nothing else where it is asked for."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossrec import __version__, cli
from crossrec.runs.folder import list_runs, open_run

Command = Callable[..., tuple[int, str, str]]


def told(result: tuple[int, str, str], *words: str) -> None:
    """A failure: exit code 1, nothing on stdout, and one line on stderr."""
    code, out, err = result
    assert (code, out) == (1, "")
    assert err.startswith("crossrec: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def document(result: tuple[int, str, str]) -> Any:
    """Success with one JSON document on stdout and nothing else anywhere."""
    code, out, err = result
    assert (code, err) == (0, "")

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(out, parse_constant=no_constant)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two small files of reviews; 12 people are in both."""
    lines = ["user_id,item_id,rating,timestamp"]
    source, target = tmp_path / "movies.csv", tmp_path / "music.csv"
    for which, path, items in (("m", source, 9), ("s", target, 8)):
        rows = [
            f"u{u},{which}{(u * 3 + i) % items},{1 + (u + i) % 5},{1_600_000_000 + i * 9000}"
            for u in range(12)
            for i in range(5)
        ]
        path.write_text("\n".join(lines + rows) + "\n")
    return source, target


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max_items", "5"], ["--max-items", "5"]),
        (["--max_items=5_0"], ["--max-items=5_0"]),
        (["recommend", "--user", "u_1"], ["recommend", "--user", "u_1"]),
        (["--set", "batch_size=3"], ["--set", "batch_size=3"]),
        (["--", "--a_b"], ["--", "--a_b"]),
        ([], []),
    ],
)
def test_options_with_underscores(words: list[str], expected: list[str]) -> None:
    assert cli.dashed(words) == expected


def test_version_and_help(crossrec: Command) -> None:
    assert crossrec("--version") == (0, f"{__version__}\n", "")
    code, out, _ = crossrec("--help")
    assert code == 0
    for name in ("data", "train", "train-source", "train-target-transfer", "train-target-baseline", "eval-compare",
                 "recommend", "compare", "evaluate", "runs", "demo"):  # fmt: skip
        assert name in out


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "words",
    [
        ("bogus",),
        ("train",),
        ("train", "popularity"),
        ("recommend", "--dataset", "tiny"),
        ("recommend", "--dataset", "tiny", "--user", "u0001", "--k", "0"),
        ("recommend", "--dataset", "tiny", "--user", "u0001", "--k", "many"),
        ("runs", "show"),
        ("train", "popularity", "--dataset", "tiny", "--bogus", "1"),
        ("train", "popularity", "--dataset", "tiny", "--split", "cold-user", "--seed", "-1"),
        ("compare",),
        ("train-source", "--subset", "none"),
    ],
)
def test_wrong_usage_is_two(crossrec: Command, words: tuple[str, ...]) -> None:
    code, out, err = crossrec(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert "Usage" in err


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "popularty", "--dataset", "tiny"), "Did you mean 'popularity'?"),
        (("train", "popularity", "--dataset", "tinny"), "Did you mean 'tiny'?"),
        (("train", "popularity", "--dataset", "/etc/passwd"), "not a path"),
        (("train", "popularity", "--dataset", "../tiny"), "not a path"),
        (("train", "popularity", "--dataset", "tiny", "--set", "k=1"), "has no setting 'k'"),
        (("train", "target-sasrec", "--dataset", "tiny", "--set", "droput=.1"), "Did you mean 'dropout'?"),
        (("train", "target-sasrec", "--dataset", "tiny", "--set", "dim=x"), "dim wants int, and 'x' is not one."),
        (("train", "target-sasrec", "--dataset", "tiny", "--set", "dim"), "key=value"),
        (
            ("train", "target-sasrec", "--dataset", "tiny", "--set", "heads=3"),
            "dim (64) must be divisible by heads (3).",
        ),
        (("train", "target-sasrec", "--dataset", "tiny", "--split", "random"), "no split 'random'"),
        (("train", "target-sasrec", "--dataset", "tiny", "--name", "a/b"), "cannot name a run"),
        (("train-target-baseline", "--dataset", "tiny", "--epochs", "0"), "epochs (0) must be positive."),
        (("train-target-baseline", "--dataset", "tiny", "--max_items", "9"), "not both"),
        (("train-target-transfer", "--dataset", "tiny", "--split", "cold-user"), "crossrec train-source"),
        (("eval-compare", "--dataset", "tiny", "--split", "cold-user"), "train-target-baseline"),
        (("eval-compare", "--source", "Books", "--target", "Toys"), "There is no dataset 'Books-Toys-300000'"),
        (("compare", "tiny-popularity"), "at least two different runs"),
        (("compare", "tiny-popularity", "tiny-source-sasrec"), "differ in their domain"),
        (("compare", "tiny-popularity", "tiny-transfer"), "Did you mean 'tiny-transfer-sasrec'?"),
        (("evaluate", "tiny-populrity"), "Did you mean 'tiny-popularity'?"),
        (("evaluate", "tiny-popularity", "--split", "train"), "no part 'train'"),
        (("recommend", "--dataset", "tiny", "--user", "nobody"), "'nobody' is not in 'tiny'; the nearest ids are"),
        (("recommend", "--run", "tiny-popularty", "--user", "u0001"), "Did you mean 'tiny-popularity'?"),
        (("runs", "show", "nothing"), "There is no run 'nothing'."),
        (("data", "describe", "tinny"), "Did you mean 'tiny'?"),
        (("data", "describe", "tiny/.."), "not a path"),
    ],
)
def test_a_failure_is_one_sentence(crossrec: Command, words: tuple[str, ...], sentence: str) -> None:
    told(crossrec(*words), sentence)


def test_an_interrupt_is_told(crossrec: Command, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crossrec.runs.execute.train", stop)
    told(crossrec("train", "popularity", "--dataset", "tiny"), "interrupted")


# --- data -------------------------------------------------------------------------------------------------------------


def test_import_describe_and_list(crossrec: Command, home: Path, files: tuple[Path, Path]) -> None:
    source, target = map(str, files)
    made = document(crossrec("data", "import", "mine", "--source", source, "--target", target, "--json"))
    assert made["counts"] == {**made["counts"], "overlap_users": 12, "source_events": 60, "target_events": 60}
    assert document(crossrec("data", "describe", "mine", "--json"))["overlap_users"] == 12
    assert [d["name"] for d in document(crossrec("data", "list", "--json"))] == ["mine"]
    code, out, _ = crossrec("data", "describe", "mine")
    assert code == 0
    assert "12 of 12 users are in both domains." in out
    code, out, _ = crossrec("data", "list")
    assert (code, "mine" in out) == (0, True)
    told(crossrec("data", "import", "mine", "--source", source, "--target", target), "'mine' exists")
    assert (
        crossrec("data", "import", "mine", "--source", source, "--target", target, "--replace", "--k_core", "2")[0] == 0
    )
    told(crossrec("data", "import", "a/b", "--target", target), "not a path")
    told(crossrec("data", "import", "other", "--target", target + "x", "--json"), "music.csvx")
    # The leak report of a split stands beside the sizes once there is one.
    assert crossrec("train", "popularity", "--dataset", "mine")[0] == 0
    reports = document(crossrec("data", "describe", "mine", "--json"))["leak_reports"]
    assert [(r["split"], r["leaks"]) for r in reports] == [("next-item-0", 0)]
    assert "Split next-item-0: 0 leaks" in crossrec("data", "describe", "mine")[1]


def test_no_data_at_all(crossrec: Command, home: Path) -> None:
    assert document(crossrec("data", "list", "--json")) == []
    assert document(crossrec("runs", "list", "--json")) == []
    told(crossrec("train", "popularity", "--dataset", "mine"), "There is none yet")


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_way_of_system_a(crossrec: Command, tiny_copy: Path) -> None:
    """train-source, train-target-transfer, train-target-baseline, eval-compare, recommend --use_transfer."""
    short = (
        "--dataset",
        "tiny",
        "--epochs",
        "1",
        "--batch_size",
        "64",
        "--lr",
        "0.002",
        "--set",
        "dim=8",
        "--seed",
        "7",
    )
    code, out, err = crossrec("train-source", *short, "--name", "s")
    assert code == 0
    assert "training s" in err
    assert "full ranking" in out
    made = document(crossrec("train-target-transfer", *short, "--name", "t", "--json"))
    assert made["run"] == "t"
    assert made["fit"]["epochs"] == 1
    document(crossrec("train-target-baseline", *short, "--name", "b", "--json"))
    config = open_run("t").config()
    assert (config["recipe"], config["source_run"], config["seed"]) == ("transfer-sasrec", "s", 7)
    settings = {key: config["settings"][key] for key in ("epochs", "batch_size", "lr", "dim")}
    assert settings == {"epochs": 1, "batch_size": 64, "lr": 0.002, "dim": 8}
    result = document(crossrec("eval-compare", "--dataset", "tiny", "--json"))
    assert [r["run"] for r in result["runs"]][:2] == ["b", "t"]
    assert result["verdict"]["answer"] in ("yes", "no", "harm")
    chosen = document(crossrec("recommend", "--dataset", "tiny", "--user", "u0001", "--use_transfer", "--json"))
    assert chosen["run"] == "t"
    assert document(crossrec("recommend", "--dataset", "tiny", "--user", "u0001", "--json"))["run"] == "b"


def test_the_command_of_a_run_repeats_it(crossrec: Command, tiny_copy: Path) -> None:
    import shlex

    import pandas as pd

    first = document(
        crossrec("train-target-baseline", "--dataset", "tiny", "--epochs", "1", "--set", "dim=8", "--json")
    )
    command = open_run(first["run"]).config()["command"]
    words = shlex.split(command)
    assert words[0] == "crossrec"
    again = document(crossrec(*words[1:], "--json"))
    assert again["run"] != first["run"]
    pd.testing.assert_frame_equal(open_run(again["run"]).per_user(), open_run(first["run"]).per_user())


def test_set_wins_over_its_shorthand(crossrec: Command, tiny_copy: Path) -> None:
    words = ("--dataset", "tiny", "--epochs", "3", "--set", "epochs=1", "--set", "dim=8", "--name", "n", "--json")
    document(crossrec("train-target-baseline", *words))
    assert open_run("n").config()["settings"]["epochs"] == 1


def test_a_setting_that_is_no_number_is_no_traceback(crossrec: Command, tiny_copy: Path) -> None:
    told(crossrec("train", "linear-map", "--dataset", "tiny", "--set", "prior=nan"), "prior")


# --- results ----------------------------------------------------------------------------------------------------------


def test_compare(crossrec: Command, tiny: Path) -> None:
    names = ("tiny-target-sasrec", "tiny-transfer-sasrec", "tiny-popularity")
    result = document(crossrec("compare", *names, "--json"))
    assert set(result) >= {"dataset", "runs", "verdict", "means", "differences"}
    code, out, err = crossrec("compare", *names)
    assert (code, err) == (0, "")
    assert result["verdict"]["headline"].split()[0] in out
    assert "ndcg@10, full ranking" in out


@pytest.mark.parametrize("name", ["tiny-popularity", "tiny-source-sasrec", "tiny-transfer-sasrec"])
def test_evaluate_gives_the_stored_numbers(crossrec: Command, tiny: Path, name: str) -> None:
    found = document(crossrec("evaluate", name, "--json"))
    stored = open_run(name).metrics()
    assert found == {"run": name, "part": "test", **stored["test"], "ratings": stored["ratings"]}
    code, out, _ = crossrec("evaluate", name, "--split", "valid")
    assert (code, name in out) == (0, True)
    assert ("Mean + item + user" in out) == ("source" not in name)  # a source run tells no stars of the target


def test_the_help_names_every_recipe(crossrec: Command) -> None:
    from crossrec.training.recipes import RECIPES

    _, out, _ = crossrec("train", "--help")
    # A line may end in the hyphen of a name.
    words = {word.strip(" .,│|") for word in re.sub(r"-\s*\n[\s│|]*", "-", out).split()}
    assert set(RECIPES) <= words


def test_eval_cold(crossrec: Command, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Words need an encoder, which takes its time over a thousand reviews.
    monkeypatch.setattr("crossrec.runs.coldstart.COLD_START", ("linear-map", "user-knn", "biases", "ptupcdr"))
    result = document(crossrec("eval-cold", "--dataset", "tiny", "--json"))
    assert set(result) >= {"headline", "stars", "notes", "runs", "ratings", "means", "differences"}
    code, out, err = crossrec("eval-cold", "--dataset", "tiny")
    assert (code, err) == (0, "")  # everything is there already
    assert out.startswith(result["headline"])
    assert result["stars"] in out
    for words in ("NDCG@10", "RMSE", "AUC per user", "Linear map", "PTUPCDR", "Item mean"):
        assert words in out
    code, _, err = crossrec("eval-cold", "--dataset", "tiny", "--split", "next-item")
    assert (code, "cold-user" in err) == (1, True)


def test_recommend(crossrec: Command, tiny: Path) -> None:
    words = ("recommend", "--dataset", "tiny", "--user", "u0002")
    answer = document(crossrec(*words, "--k", "3", "--json"))
    assert answer["run"] == "tiny-target-sasrec"
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    assert document(crossrec(*words, "--use-transfer", "--json"))["run"] == "tiny-transfer-sasrec"
    assert (
        document(crossrec("recommend", "--run", "tiny-popularity", "--user", "u0002", "--json"))["run"]
        == "tiny-popularity"
    )
    code, out, err = crossrec(*words)
    assert (code, err) == (0, "")
    assert answer["items"][0]["item_id"] in out


def test_recommend_to_a_stranger(crossrec: Command, tiny: Path) -> None:
    words = ("recommend", "--dataset", "tiny", "--user", "nobody")
    told(crossrec(*words))
    told(crossrec(*words, "--json"))
    answer = document(crossrec(*words, "--fallback", "--json"))
    assert answer["basis"] == "popularity fallback"
    assert "popularity fallback" in crossrec(*words, "--fallback")[1]


def test_recommend_before_training_says_which_command(crossrec: Command, tiny_copy: Path) -> None:
    import shutil

    shutil.rmtree(tiny_copy / "runs")
    told(crossrec("recommend", "--dataset", "tiny", "--user", "u0001"), "crossrec train-target-baseline --dataset tiny")
    told(
        crossrec("recommend", "--dataset", "tiny", "--user", "u0001", "--use-transfer"),
        "crossrec train-target-transfer --dataset tiny",
    )


def test_runs(crossrec: Command, tiny: Path) -> None:
    found = document(crossrec("runs", "list", "--json"))
    assert {run["run"] for run in found} == {run.name for run in list_runs()}
    assert all(run["status"]["state"] == "finished" for run in found)
    assert document(crossrec("runs", "list", "--dataset", "other", "--json")) == []
    code, out, _ = crossrec("runs", "list")
    assert code == 0
    assert all(run.name in out for run in list_runs())
    shown = document(crossrec("runs", "show", "tiny-transfer-sasrec", "--json"))
    assert set(shown) == {"config", "status", "metrics"}
    assert shown["metrics"] == open_run("tiny-transfer-sasrec").metrics()
    code, out, _ = crossrec("runs", "show", "tiny-transfer-sasrec")
    assert (code, "source_pool" in out) == (0, True)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    for value in ("3", "", "0", "many"):
        monkeypatch.setenv("CROSSREC_THREADS", value)
        cli.set_threads()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    cli.set_threads()
    assert chosen == [3, 5, 5, 5, 1]
