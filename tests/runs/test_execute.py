"""Training a run from beginning to end on the tiny world, and opening it again."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crossrec import paths
from crossrec.data.demo import DemoConfig
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.data.split import open_split
from crossrec.errors import CrossrecError
from crossrec.models.sasrec import SASRecRecommender
from crossrec.models.transfer import TransferRecommender
from crossrec.runs import plan as planning
from crossrec.runs.demo import make_world
from crossrec.runs.execute import evaluate_run, load, rate_run, train
from crossrec.runs.folder import list_runs, open_run
from crossrec.runs.plan import plan
from crossrec.training.job import Job, Recipe

NAMES = ["tiny-popularity", "tiny-source-sasrec", "tiny-target-sasrec", "tiny-transfer-sasrec"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_holds_everything(name: str) -> None:
    run = open_run(name)
    config, metrics, status = run.config(), run.metrics(), run.status()
    assert status["state"] == "finished"
    assert config["recipe"] == name.removeprefix("tiny-")
    assert config["dataset_hash"] == DomainPair.open("tiny").meta["hash"]
    assert config["split"] == {"kind": "next-item", "seed": 0}
    assert (config["seed"], config["dataset"]) == (0, "tiny")
    assert {"torch", "crossrec"} <= set(config["versions"])
    assert metrics["parameters"] > 0
    assert metrics["peak_memory_mb"] > 0
    if "sasrec" in name:
        assert (config["settings"]["dim"], config["settings"]["max_len"]) == (16, 20)
        assert metrics["fit"]["epochs"] == len(run.events()) == status["epoch"] == 2
        best = run.events()[metrics["fit"]["best_epoch"] - 1]
        assert metrics["valid"]["ndcg@10"] == pytest.approx(best["valid"]["ndcg@10"])
    assert config["source_run"] == ("tiny-source-sasrec" if "transfer" in name else None)
    suffixes = {path.suffix for path in run.folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".jsonl", ".parquet", ".safetensors"}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", NAMES)
def test_evaluated_again_it_gives_the_stored_numbers(name: str) -> None:
    run = open_run(name)
    evaluation, summary = evaluate_run(run)
    assert summary == run.metrics()["test"]
    pd.testing.assert_frame_equal(evaluation.table, run.per_user())
    _, valid = evaluate_run(run, "valid")
    assert valid["groups"]["all"]["full"]["ndcg@10"] == pytest.approx(run.metrics()["valid"]["ndcg@10"])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("name", NAMES)
def test_stars_are_stored_and_told_again(name: str) -> None:
    run = open_run(name)
    stored, table = run.metrics()["ratings"], run.ratings()
    assert rate_run(run) == stored
    if name == "tiny-source-sasrec":
        assert stored is table is None
        return
    assert table is not None
    pair = DomainPair.open("tiny")
    assert len(table) == stored["events"] == len(run.per_user())  # every demo event has stars, and one is hidden a user
    assert pair.target.ratings is not None
    np.testing.assert_array_equal(table["rating"], pair.target.ratings[table["event"]])
    assert stored["models"]["recommender"]["rmse"] is None  # none of these predicts stars
    assert stored["models"]["biases"]["rmse"]["mean"] < stored["models"]["global_mean"]["rmse"]["mean"]
    valid = rate_run(run, "valid")
    assert valid is not None
    assert valid != stored


@pytest.mark.usefixtures("tiny_copy")
def test_a_run_that_predicts_stars_stores_them() -> None:
    run = train("biases", "tiny")
    table = run.ratings()
    assert table is not None
    np.testing.assert_allclose(table["predicted"], table["biases"], atol=1e-5)
    assert run.metrics()["ratings"]["differences"]["recommender"]["rmse"]["mean"] == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("seeds", [{"seed": -1}, {"split_seed": -1}])
def test_a_seed_below_nought_is_told(seeds: dict[str, int]) -> None:
    with pytest.raises(CrossrecError, match=r"A seed is a number from 0, and -1 is not\."):
        plan("popularity", "tiny", split_kind="cold-user", **seeds)


@pytest.mark.usefixtures("home")
def test_data_without_stars_stores_none() -> None:
    small_dataset("plain", users=12, per_user=4)
    run = train("popularity", "plain")
    assert run.metrics()["ratings"] is None
    assert run.ratings() is None
    with pytest.raises(CrossrecError, match="has no ratings to learn stars from"):
        train("biases", "plain")


@pytest.mark.usefixtures("tiny_copy")
def test_the_same_seed_repeats_a_run_exactly(tiny_settings: dict[str, Any]) -> None:
    again = train("transfer-sasrec", "tiny", tiny_settings, name="again")
    pd.testing.assert_frame_equal(again.per_user(), open_run("tiny-transfer-sasrec").per_user())
    weights = [
        (open_run(n).recommender / "weights.safetensors").read_bytes() for n in ("again", "tiny-transfer-sasrec")
    ]
    assert weights[0] == weights[1]
    other = train("transfer-sasrec", "tiny", tiny_settings, seed=1, name="other")
    assert (other.recommender / "weights.safetensors").read_bytes() != weights[0]


@pytest.mark.usefixtures("tiny_copy")
@pytest.mark.parametrize(
    "recipe",
    [
        "source-sasrec",
        "target-sasrec",
        "transfer-sasrec",
    ],
)
def test_training_leaves_the_global_generator_alone(recipe: str, tiny_settings: dict[str, Any]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(recipe, "tiny", tiny_settings)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.usefixtures("tiny")
def test_a_source_run_recommends_source_items() -> None:
    recommender, pair, split = load(open_run("tiny-source-sasrec"))
    whole = DomainPair.open("tiny")
    assert isinstance(recommender, SASRecRecommender)
    assert recommender.n_items == pair.target.n_items == whole.source.n_items
    assert pair.source.n_items == 0
    # It sees only what the split leaves of the source, and holds out of that.
    visible = open_split(whole).source_train_end
    np.testing.assert_array_equal(pair.target.counts, visible)
    np.testing.assert_array_equal(split.target_train_end, np.maximum(visible - 2, 0))


@pytest.mark.usefixtures("tiny")
def test_the_transfer_run_carries_the_weights_of_its_source_run() -> None:
    transfer, source = load(open_run("tiny-transfer-sasrec"))[0], load(open_run("tiny-source-sasrec"))[0]
    assert isinstance(transfer, TransferRecommender)
    assert isinstance(source, SASRecRecommender)
    frozen = transfer.source_model.state_dict()
    for name, tensor in source.model.state_dict().items():
        assert torch.equal(frozen[name], tensor), name
    people = Histories.of([[], [1]], [[1, 2], [1, 2]])
    alone = SASRecRecommender(transfer.model.sequence).score(people)
    np.testing.assert_allclose(transfer.score(people)[0], alone[0], atol=1e-5)


def test_events_of_a_training(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    events: list[dict[str, Any]] = []
    run = train("target-sasrec", "tiny", tiny_settings, name="told", on_event=events.append)
    kinds = [event["event"] for event in events if event["event"] != "step"]
    assert kinds == ["start", "epoch", "epoch", "test", "controls", "encoded"]
    assert events[0]["run"] == "told"
    command = shlex.split(run.config()["command"])
    assert command[:7] == ["crossrec", "train", "target-sasrec", "--dataset", "tiny", "--seed", "0"]
    assert [word for word in command if "=" in word] == [f"{key}={value}" for key, value in tiny_settings.items()]


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny_copy")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CrossrecError("The loss is not a number."), "The loss is not a number."),
        (RuntimeError("deep inside"), "RuntimeError: see the log"),
        (MemoryError(), "There is not enough memory: choose smaller settings, or close other programs."),
        (OSError(28, "No space left on device"), "The disk of .* is full: free some space and resume."),
        (PermissionError(13, "Permission denied", "/x"), "/x may not be written: change its permissions and resume."),
    ],
)
def test_a_failing_training_says_so(error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Job) -> Any:
        raise error

    recipe = Recipe("popularity", "Popularity", planning.find_recipe("popularity").config, fail)
    monkeypatch.setattr(planning, "find_recipe", lambda name: recipe)
    with pytest.raises(RuntimeError if isinstance(error, RuntimeError) else CrossrecError):
        train("popularity", "tiny", name="doomed")
    status = open_run("doomed").status()
    assert status["state"] == "failed"
    assert re.fullmatch(reason, status["error"])
    assert type(error).__name__ in open_run("doomed").log()
    with pytest.raises(CrossrecError, match="'doomed' cannot be used: its state is 'failed'"):
        load(open_run("doomed"))


def test_a_diverging_training_is_one_sentence(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    settings = {**tiny_settings, "lr": 1e38, "temperature": 0.0}
    with pytest.raises(CrossrecError, match="not a finite number: lower the learning rate"):
        train("target-sasrec", "tiny", settings, name="wild")
    assert open_run("wild").status()["state"] == "failed"
    assert "learning rate" in open_run("wild").status()["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("popularty", "tiny"), "Did you mean 'popularity'"),
        (("popularity", "tinny"), "Did you mean 'tiny'"),
        (("popularity", "/etc"), "not a path"),
        (("popularity", "tiny", {"k": 1}), "no setting 'k'"),
        (("target-sasrec", "tiny", {"dim": "x"}), "dim wants int"),
        (("popularity", "tiny", {}, 0, "random"), "no split 'random'"),
        (("transfer-sasrec", "tiny", {}, 0, "cold-user"), "no finished source model for 'tiny'.*train-source"),
        (("transfer-sasrec", "tiny", {}, 0, "next-item", "tiny-popularity"), "is not a source model of 'tiny'"),
        (("transfer-sasrec", "tiny", {}, 0, "cold-user", "tiny-source-sasrec"), "with this data and split"),
        (("transfer-sasrec", "tiny", {}, 0, "next-item", "tiny-source"), "Did you mean 'tiny-source-sasrec'"),
        (("popularity", "tiny", {}, 0, "next-item", None, "tiny-popularity"), "a run 'tiny-popularity' already"),
        (("popularity", "tiny", {}, 0, "next-item", None, "a/b"), "cannot name a run"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    tiny_copy: Path, arguments: tuple[Any, ...], message: str
) -> None:
    before = sorted(p.name for p in (tiny_copy / "runs").iterdir())
    with pytest.raises(CrossrecError, match=message):
        train(*arguments)
    assert sorted(p.name for p in (tiny_copy / "runs").iterdir()) == before


def test_a_run_is_not_opened_after_its_dataset_changed(tiny_copy: Path) -> None:
    shutil.rmtree(tiny_copy / "datasets" / "tiny")
    run = open_run("tiny-target-sasrec")
    with pytest.raises(CrossrecError, match="no dataset 'tiny'"):
        load(run)
    config = DemoConfig(users=120, source_items=60, target_items=60, source_events=1500, target_events=1000, seed=1)
    make_world("tiny", config)
    with pytest.raises(CrossrecError, match="'tiny' is not the one that run 'tiny-target-sasrec' was trained on"):
        load(run)
    # And the source run of the old data is not used for the new.
    with pytest.raises(CrossrecError, match="no finished source model"):
        train("transfer-sasrec", "tiny")


def test_cold_users_are_tested_with_no_target_history(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    source = train("source-sasrec", "tiny", tiny_settings, split_kind="cold-user")
    run = train("transfer-sasrec", "tiny", tiny_settings, split_kind="cold-user")
    assert run.config()["source_run"] == source.name
    assert run.config()["split"] == {"kind": "cold-user", "seed": 0}
    table = run.per_user()
    assert (table["n_target"] == 0).all()
    assert (table["n_train"] == 0).all()
    assert (table["n_truth"] > 0).all()
    assert table["n_truth"].max() > 1
    pair = DomainPair.open("tiny")
    assert len(table) == round(pair.overlap.sum() / 10)
    other = train("popularity", "tiny", seed=2, split_kind="cold-user")
    assert other.config()["split"] == {"kind": "cold-user", "seed": 2}
    assert set(other.per_user()["user"]) != set(table["user"])


def test_a_source_run_remembers_the_seed_of_its_cold_user_split(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    run = train("source-sasrec", "tiny", tiny_settings, seed=2, split_kind="cold-user")
    assert run.config()["split"] == {"kind": "cold-user", "seed": 2}
    assert evaluate_run(run)[1] == run.metrics()["test"]


def test_transfer_finds_the_source_run_of_its_cold_user_split(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    source = train("source-sasrec", "tiny", tiny_settings, seed=2, split_kind="cold-user")
    assert train("transfer-sasrec", "tiny", tiny_settings, 2, "cold-user").config()["source_run"] == source.name


def test_a_source_run_of_other_held_out_people_is_not_used(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    train("source-sasrec", "tiny", tiny_settings, seed=2, split_kind="cold-user")
    # It was trained on source events that the split of seed 0 hides.
    with pytest.raises(CrossrecError, match="no finished source model"):
        train("transfer-sasrec", "tiny", tiny_settings, seed=0, split_kind="cold-user")


def test_one_domain_alone(home: Path) -> None:
    users = [f"u{i % 9}" for i in range(60)]
    events = pd.DataFrame({"user_id": users, "item_id": [f"i{i * 7 % 23}" for i in range(60)], "time": range(60)})
    write_tables("single", {"target": events}, {}, labels=("", "Only"))
    assert train("popularity", "single").finished
    assert train("target-sasrec", "single", {"dim": 8, "epochs": 1}).finished
    for recipe in ("source-sasrec", "transfer-sasrec"):
        with pytest.raises(CrossrecError, match="has a single domain"):
            train(recipe, "single")


def small_dataset(name: str, users: int, per_user: int) -> None:
    rows = [(f"u{u}", f"i{(u + i) % 7}", 10 * i) for u in range(users) for i in range(per_user)]
    target = pd.DataFrame(rows, columns=["user_id", "item_id", "time"])
    source = target.assign(item_id=target["item_id"].str.replace("i", "s"), time=target["time"] - 5)
    write_tables(name, {"source": source, "target": target}, {}, labels=("S", "T"))


def test_too_few_people_for_a_cold_user_split_is_one_sentence_or_works(home: Path) -> None:
    small_dataset("few", users=4, per_user=4)  # round(4 / 10) = 0 people are held out
    try:
        train("popularity", "few", split_kind="cold-user")
    except CrossrecError as told:
        assert "few" in str(told)


def test_people_with_one_event_each_is_one_sentence_or_works(home: Path) -> None:
    small_dataset("one", users=12, per_user=1)
    try:
        train("popularity", "one")
    except CrossrecError as told:
        assert "one" in str(told)


def test_a_setting_that_is_not_a_number_is_one_sentence(tiny_copy: Path) -> None:
    with pytest.raises(CrossrecError):
        train("linear-map", "tiny", {"prior": "nan"}, name="nan")
    assert not (paths.runs() / "nan").exists()


def test_popularity_of_a_run_counts_only_training_events(tiny: Path) -> None:
    recommender, pair, _ = load(open_run("tiny-popularity"))
    counts = np.zeros(pair.target.n_items + 1)
    for user in range(pair.n_users):
        for item in pair.target.sequence(user)[:-2]:
            counts[item] += 1
    scores = recommender.score(Histories.of([[]], [[]]))[0]
    np.testing.assert_array_equal(scores[1:], counts[1:])
    assert len(list_runs("tiny")) == 4
