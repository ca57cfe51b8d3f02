"""The compare page for strangers: sentences, stars, the leak and the curves, as a person gets them."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
from test_pages import alerts, charts, open_page, said, words

from app.ui import splits
from app.ui.errors import plain
from crossrec import paths
from crossrec.data.demo import DemoConfig
from crossrec.data.prepare import write_tables
from crossrec.evaluation.statistics import Interval
from crossrec.report import cold, learning
from crossrec.runs.coldstart import cold_runs, compare_cold_runs
from crossrec.runs.compare import RatingRow
from crossrec.runs.demo import make_world
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run
from crossrec.runs.leaks import leaks

SPLIT = "cold-user-50"
STRANGERS = f"Strangers, {SPLIT}"
SMALL = {"users": 120, "source_items": 60, "target_items": 60, "source_events": 1500, "target_events": 1000}
QUICK = {"encoder": "static", "epochs": 2, "components": 8, "taste_dim": 4, "most_reviews": 3}


@pytest.fixture(scope="module")
def cold_built(tmp_path_factory):
    """A world with finished runs on strangers, and nothing else."""
    home = tmp_path_factory.mktemp("cold")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(home))
        make_world("demo", DemoConfig(**SMALL))
        for recipe in ("popularity", "linear-map", "biases"):
            train(recipe, "demo", split_kind=SPLIT, name=f"cold-{recipe}")
        train("racrec", "demo", QUICK, split_kind=SPLIT, name="cold-review")
        train("racrec", "demo", QUICK | {"leaky_item_vectors": True}, split_kind=SPLIT, name="cold-leaky")
        train("popularity", "demo", name="known-popularity")
    return home


@pytest.fixture
def cold_home(cold_built, copy_of):
    """A copy, which a test may change."""
    return copy_of(cold_built)


# --- the page --------------------------------------------------------------------------------------------------------


def test_strangers_get_the_sentences_of_the_comparison(cold_home):
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    result = compare_cold_runs(cold_runs("demo", SPLIT))
    assert len(result.sentences) >= 3
    assert alerts(at)[0] == plain(result.headline)
    for sentence in result.sentences[1:]:
        assert f"* {plain(sentence)}" in words(at)
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Strangers tested"] == f"{result.users:,}" == str(len(open_run("cold-popularity").per_user()))
    learned, simple = (result.comparison.mean(run) for run in (result.learned, result.simple))
    assert shown[learned.title] == f"{learned.value.mean:.3f}"
    assert shown[simple.title] == f"{simple.value.mean:.3f}"
    assert len(shown) == 4
    # Every run that is on offer, and none that reads its answers.
    honest = {"cold-popularity", "cold-linear-map", "cold-biases", "cold-review"}
    assert set(at.multiselect(key="cmp_cold").options) == set(at.multiselect(key="cmp_cold").value) == honest
    assert "No leak was found in 6 checks" in said(at)
    assert len(list(paths.runs().iterdir())) == 6  # nothing was trained


def test_the_split_is_chosen_in_words_or_by_address(cold_home):
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    which = at.radio(key="cmp_split")
    assert which.value == SPLIT
    assert which.options == ["Known people", STRANGERS]
    which.set_value("next-item").run()
    assert not at.exception
    assert alerts(at) == ["Only known-popularity is finished on demo, next-item: a comparison needs two."]
    assert open_page("compare", data="demo", cmp_split="nonsense").radio(key="cmp_split").value == "next-item"


def test_where_only_strangers_were_tested_the_page_begins_with_them(cold_home):
    shutil.rmtree(cold_home / "runs" / "known-popularity")
    assert open_page("compare", data="demo").radio(key="cmp_split").value == SPLIT


def test_what_is_missing_has_its_command_and_is_not_trained(cold_home):
    shutil.rmtree(cold_home / "runs" / "cold-review")
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    codes = "\n".join(code.value for code in at.code)
    assert f"crossrec eval-cold --dataset demo --split {SPLIT}\n" in codes
    assert f"crossrec train racrec --dataset demo --split {SPLIT}" in codes
    assert alerts(at)[0].startswith("There is no learned model")
    at.multiselect(key="cmp_cold").set_value(["cold-popularity"]).run()
    assert not at.exception
    assert alerts(at) == ["Choose at least two runs."]


def test_the_table_has_every_number(cold_home):
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    table = next(frame.value for frame in at.dataframe if "NDCG@10, from" in frame.value)
    result = compare_cold_runs(cold_runs("demo", SPLIT))
    assert list(table["Recommender"]) == [side.title for side in result.sides] + [
        "Global mean", "Item mean", "Mean + item + user",
    ]  # fmt: skip
    row = table.set_index("Run").loc["cold-review"]
    stored = open_run("cold-review").metrics()["ratings"]["models"]["recommender"]
    for name, metric in (("RMSE", "rmse"), ("MAE", "mae"), ("AUC", "auc"), ("AUC per user", "auc_user")):
        assert [row[name], row[f"{name}, from"], row[f"{name}, to"]] == [
            stored[metric][k] for k in ("mean", "low", "high")
        ]
    assert row["NDCG@10"] == pytest.approx(open_run("cold-review").per_user()["ndcg@10"].mean())
    gap = result.comparison.difference("cold-review").value
    assert row["NDCG@10 against Linear map, from"] == gap.low
    read = pd.read_csv(io.StringIO(cold.table(result).to_csv(index=False)))
    assert read.shape == table.shape
    assert np.isnan(table.set_index("Run").loc["cold-popularity", "RMSE"])  # it does not rate


def test_a_leak_stands_apart(cold_home):
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    (leak,) = leaks("demo", SPLIT)
    assert "What a leak does" in [one.value for one in at.header]
    assert leak.honest.run == "cold-review"
    assert plain(leak.sentence) in words(at)
    assert "0.8466 was this" in said(at)
    before = said(at).split("What a leak does")[0]
    assert "cold-leaky" not in before
    with_leak = charts(at)
    shutil.rmtree(cold_home / "runs" / "cold-leaky")
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    assert "What a leak does" not in [one.value for one in at.header]
    assert charts(at) == with_leak - 1
    commands = f"crossrec train racrec --dataset demo --split {SPLIT} --set mode=classic"
    assert f"{commands}\n{commands} --leaky-item-vectors" in [code.value for code in at.code]


def test_a_leak_whose_like_is_missing_gets_its_command(cold_home):
    shutil.rmtree(cold_home / "runs" / "cold-review")
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    assert "have not been tested" in said(at)
    (command,) = [code.value for code in at.code if "encoder=static" in code.value]
    assert "leaky" not in command


def test_without_stars_and_texts_there_is_neither_a_section_of_stars_nor_of_leaks(cold_home):
    rows = [(f"p{user}", f"i{(user + i) % 9}") for user in range(40) for i in range(3)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"])
    write_tables("bare", {"source": table, "target": table}, {}, labels=("Shoes", "Socks"))
    for recipe in ("popularity", "linear-map"):
        train(recipe, "bare", seed=3, split_kind="cold-user-20", name=f"bare-{recipe}")
    at = open_page("compare", data="bare")  # nothing else has been tested there
    assert at.radio(key="cmp_split").value == "cold-user-20-s3"
    assert alerts(at) == ["There is no learned model beside a simple one, so nothing can be said about learning."]
    assert charts(at) == 2
    assert "A leak" not in said(at)
    assert "Who tells how many stars" not in said(at)
    assert "biases is left out: Socks has no ratings." in said(at)
    assert "crossrec eval-cold --dataset bare --split cold-user-20 --seed 3" in [code.value for code in at.code]


def test_two_review_models_are_looked_at_one_by_one(cold_home):
    train("racrec", "demo", QUICK | {"mode": "classic", "epochs": 2}, split_kind=SPLIT, name="old")
    at = open_page("compare", data="demo", cmp_split=STRANGERS, cmp_cold=["old", "cold-review", "cold-popularity"])
    assert "first review system, faults included" in said(at)
    assert "Choice among all items" not in said(at)  # it has no such loss
    at.selectbox(key="cmp_learned").set_value("cold-review").run()
    assert not at.exception
    assert "faults included" not in said(at)
    assert "Choice among all items" in said(at)


def test_a_run_that_reads_its_answers_is_not_offered_to_known_people_either(cold_home):
    for run, name in (("cold-leaky", "leaky"), ("cold-review", "review"), ("cold-linear-map", "map")):
        folder = cold_home / "runs" / name
        shutil.copytree(cold_home / "runs" / run, folder)
        config = open_run(name).config() | {"split": {"kind": "next-item", "seed": 0}, "run": name}
        paths.write_json(folder / "config.json", config)
    for name in ("review", "map"):
        shutil.copy(cold_home / "runs" / "known-popularity" / "per_user.parquet", cold_home / "runs" / name)
    at = open_page("compare", data="demo", cmp_baseline="map")
    assert sorted(at.selectbox(key="cmp_baseline").options) == ["known-popularity", "map", "review"]
    assert "What a leak does" in [one.value for one in at.header]


def test_every_loss_of_the_review_model_has_a_curve(cold_home):
    at = open_page("compare", data="demo", cmp_split=STRANGERS)
    first, kept = (event for event in learning.epochs(open_run("cold-review")))
    if open_run("cold-review").metrics()["fit"]["best_epoch"] == 1:
        kept = first
    for name in ("pred", "diff", "class", "rec", "irec", "rank"):
        title = learning.CURVES[name].title
        assert f"**{title}: {first['losses'][name]:.3f} → {kept['losses'][name]:.3f}**" in said(at)
    assert f"Validation NDCG@10: {first['valid']['ndcg@10']:.3f} → {kept['valid']['ndcg@10']:.3f}" in said(at)
    assert "the best by validation NDCG@10" in said(at)


# --- frames and words by hand ----------------------------------------------------------------------------------------


def test_splits_in_words():
    assert splits.words("next-item") == "Asked for their next item"
    assert splits.words("cold-user") == "A tenth of the people in both domains"
    assert splits.words("cold-user-20-all-source-s3") == (
        "A fifth of the people in both domains, with their later source history, drawn with seed 3"
    )
    assert splits.label("cold-user-20-s3") == "Strangers, cold-user-20-s3"
    assert splits.read("cold-user-80-s12") == ("cold-user-80", 12)
    assert splits.read("cold-user-80-all-source") == ("cold-user-80-all-source", 0)


class Told:
    """A comparison of which only the stars matter."""

    sides = ()

    def __init__(self, *ratings):
        self.ratings = ratings


def row(run: str | None, title: str, rmse: float, gap: tuple[float, float, float] | None) -> RatingRow:
    differences = {} if gap is None else {"rmse": Interval(*gap)}
    return RatingRow(run, title, {"rmse": Interval(rmse, rmse - 0.1, rmse + 0.1)}, differences)


@pytest.mark.parametrize(
    ("rmse", "gap", "sentence"),
    [
        (
            0.9, (-0.1, -0.2, -0.05),
            "Model comes nearest to the stars: RMSE 0.900, clearly better than mean + item + user",
        ),
        (
            0.99, (-0.01, -0.2, 0.1),
            "Model comes nearest to the stars: RMSE 0.990, not shown to be better than mean + item + user",
        ),
        (1.1, (0.1, 0.05, 0.2), "Nothing is better than mean + item + user: RMSE 1.000"),
    ],
)  # fmt: skip
def test_the_best_of_stars_in_words(monkeypatch, rmse, gap, sentence):
    monkeypatch.setattr(cold.frames, "recipes", lambda found: {"m": "racrec"})
    found = Told(
        row("m", "Model", rmse, gap),
        row(None, "Item mean", 1.2, (0.2, 0.1, 0.3)),
        row(None, "Mean + item + user", 1.0, None),
    )
    assert cold.stars_sentence(found, "rmse") == sentence
    frame = cold.stars(found, "rmse")
    assert list(frame["mean"]) == sorted([rmse, 1.2, 1.0])
    assert set(frame["recipe"]) == {"racrec", "popularity", "biases"}
    assert cold.stars(found, "auc").empty


def test_a_run_of_biases_is_not_shown_twice(monkeypatch):
    monkeypatch.setattr(cold.frames, "recipes", lambda found: {"b": "biases"})
    plainest = row(None, "Mean + item + user", 1.0, None)
    found = Told(RatingRow("b", "Biases", dict(plainest.values), {"rmse": Interval(0.0, 0.0, 0.0)}), plainest)
    assert list(cold.stars(found, "rmse")["title"]) == ["Mean + item + user"]


def test_who_is_clearly_better_in_words():
    frame = pd.DataFrame({"title": ["A", "B", "C"], "low": [0.1, 0.05, -0.1]})
    assert cold.difference_sentence(frame, "Linear map") == "Clearly better than Linear map: A, B"
    assert cold.difference_sentence(frame.iloc[2:], "Linear map") == "None is shown to rank better than Linear map"
    assert cold.difference_sentence(frame.iloc[:2], "Linear map") == "All rank better than Linear map"


def test_curves_of_other_models_stand_with_those_that_watch_the_same(monkeypatch):
    def epoch(number, monitor, value, loss):
        return {
            "event": "epoch",
            "epoch": number,
            "monitor": monitor,
            "valid": {monitor: value},
            "losses": {"loss": loss},
        }

    class Fake:
        def __init__(self, name, monitor, values):
            self.name, self.told = name, [epoch(n + 1, monitor, v, 3.0 - n) for n, v in enumerate(values)]

        def config(self):
            return {"recipe": "ptupcdr" if self.name == "stars" else "target-sasrec"}

        def metrics(self):
            return {"fit": {"best_epoch": 2}}

        def events(self):
            return self.told

    runs = [
        Fake("one", "ndcg@10", [0.1, 0.3, 0.2]),
        Fake("two", "ndcg@10", [0.2, 0.25]),
        Fake("stars", "-rmse", [-1.2, -1.1]),
    ]
    found = learning.curves(runs, {run.name: run.name.capitalize() for run in runs})
    assert set(found) == {"ndcg@10", "-rmse"}
    assert list(found["-rmse"]["valid"]["value"]) == [1.2, 1.1]  # an error is watched as a negative number
    assert learning.best_sentence(found["ndcg@10"]["valid"]) == (
        "One was best in epoch 2 and Two was best in epoch 2 (the diamonds)"
    )
    assert list(found["ndcg@10"]["loss"]["value"]) == [3.0, 2.0, 1.0, 3.0, 2.0]
    one = found["ndcg@10"]["loss"].iloc[:3]
    assert learning.loss_sentence(one) == "Training loss goes on falling after the epoch that was kept"
    assert learning.loss_sentence(found["ndcg@10"]["loss"]) == "Training loss by epoch"
    restless = one.assign(value=[3.0, 2.0, 1.9], best=[True, False, False])
    assert learning.loss_sentence(restless).startswith("Training loss goes on")
    assert learning.loss_sentence(restless.assign(value=[3.0, 2.0, 2.9])) == "Training loss by epoch"
