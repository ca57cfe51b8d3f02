"""The page of trainings: from the form to the queue, what can be done with a run, and each state as it is told."""

from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.ui import train_form, train_recipes, train_runs, train_settings, train_words
from app.ui.errors import plain
from crossrec.config import from_dict
from crossrec.data.logged import save_log
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.runs import estimate, queue
from crossrec.runs.estimate import Estimate
from crossrec.runs.execute import enqueue
from crossrec.runs.folder import RunWriter, list_runs, open_run
from crossrec.runs.plan import plan
from crossrec.runs.task import write_status
from crossrec.training.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = str(ROOT / "pages" / "train.py")


@pytest.fixture
def own(built, copy_of, monkeypatch):
    """A copy of the tiny home that may be written to; nothing is started in it."""
    monkeypatch.setattr(queue, "keep", lambda: None)
    return copy_of(built)


def open_page(**query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    if "data" in query:
        at.query_params["data"] = query["data"]
    at.run()
    for key, value in query.items():
        at.query_params[key] = value
    at.switch_page(PAGE).run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    kinds = (at.title, at.header, at.markdown, at.caption, at.success, at.info, at.warning, at.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def command(at: AppTest) -> str:
    return at.code[0].value


def queued() -> list[str]:
    return [task.name for task in queue.waiting("run")]


def choose(at: AppTest, recipe: str) -> AppTest:
    at.selectbox(key="trn_recipe").set_value(recipe).run()
    assert not at.exception
    return at


def setting(at: AppTest, recipe: str, **values) -> AppTest:
    for name, value in values.items():
        key = f"trn_{recipe}_{name}"
        found = [w for kind in (at.number_input, at.selectbox) for w in kind if w.key == key]
        if found:
            found[0].set_value(value)
        else:  # behind "All settings"
            at.session_state[key] = value
    return at.run()


def buttons(at: AppTest) -> set[str]:
    return {button.label for button in at.button}


@contextmanager
def worked_on(name: str):
    """A run that this process works on, as a worker would."""
    writer = RunWriter.resume(open_run(name), ("queued",))
    try:
        yield writer
    finally:
        writer.close()


def put(recipe="target-sasrec", dataset="demo", settings=None, seed=0, name=None):
    planned = plan(recipe, dataset, {"epochs": 9} if settings is None else settings, seed, later=True)
    return enqueue(planned, name)


EPOCH = {"event": "epoch", "epochs": 9, "monitor": "ndcg@10", "seconds": 3.0, "eta": 12.0, "rate": 50.0}


def told(epoch: int, best: int, score: float) -> dict:
    valid = {"ndcg@10": score, "hr@10": 2 * score}
    return EPOCH | {"epoch": epoch, "best": best, "valid": valid, "losses": {"loss": 5.0 / epoch}}


# --- what the form knows of recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_setting_has_a_meaning_and_words_have_choices(recipe):
    kinds = train_settings.fields_of(recipe)
    meanings = train_settings.meanings(recipe.config)
    assert [name for name in kinds if not meanings.get(name)] == []
    named = train_settings.preset_key(recipe.config)
    for name in (name for name, kind in kinds.items() if kind is str and name != named):
        for choice in train_settings.CHOICES[name]:
            rest = {"mapping": "mlp"} if name != "mapping" else {}
            from_dict(recipe.config, {name: choice} | {k: v for k, v in rest.items() if k in kinds})
    assert set(train_settings.MAIN.get(recipe.name, ())) <= set(kinds)
    assert train_recipes.ABOUT[recipe.name].endswith(".")


def test_meaning_is_the_docstring_below_the_field():
    found = train_settings.meanings(RECIPES["ptupcdr"].config)
    assert found["batch_size"] == "Ratings a step." and found["lr"] == "Learning rate of Adam."


def test_recipes_that_the_data_does_not_allow_are_named_with_the_reason(home):
    single, refused = train_recipes.offered(DomainPair.open("single"))
    assert set(single) == {"popularity", "item-knn", "target-sasrec", "unified", "known-ensemble"}
    assert refused["Tools has no stars"] == [RECIPES["biases"].title]
    possible, refused = train_recipes.offered(DomainPair.open("bare"))
    assert "transfer-sasrec" in possible and not {"emcdr", "racrec", "content"} & set(possible)
    assert "RACRec" in " ".join(refused["Shoes has neither reviews nor titles"])
    all_others = [name for name in RECIPES if name != "policy-finetune"]
    assert train_recipes.offered(DomainPair.open("demo")) == (
        all_others,
        {train_recipes.NO_LOG: [RECIPES["policy-finetune"].title]},
    )
    at = open_page(data="single")
    assert "Not on this data: " in words(at) and "Transfer SASRec" in words(at)
    assert set(at.selectbox(key="trn_recipe").options) == {RECIPES[name].title for name in single}


# --- the form --------------------------------------------------------------------------------------------------------


def test_without_data_the_page_says_how_to_get_some(empty_home):
    at = open_page()
    assert "There is no data to train on yet." in words(at) and "crossrec demo" in [c.value for c in at.code]
    assert not [button for button in at.button if button.key == "trn_start"]


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "policy-finetune"])
def test_each_recipe_begins_with_its_own_command(own, recipe):
    at = choose(open_page(data="demo"), recipe)
    planned = plan(recipe, "demo", later=True)
    assert command(at) == f"{planned.asked['command']} --queue" and "--set" not in command(at)
    assert plain(train_recipes.ABOUT[recipe]) in [one.value for one in at.markdown]
    assert not at.warning


def a_log(name: str, dataset: str = "demo") -> None:
    """A feedback log of twelve people who were each shown one item."""
    slates = pd.DataFrame(
        {"session": [f"s{n}" for n in range(12)], "user": range(12), "policy": "even", "candidates": [[1, 2, 3]] * 12}
    )
    events = pd.DataFrame(
        {"slate": range(12), "position": 0, "item": [1, 2, 3] * 4, "propensity": 1 / 3, "action": "click"}
    ).assign(reward=1.0, time=None)
    save_log(name, DomainPair.open(dataset), slates, events, {"origin": "by hand", "rewards": {}, "left_out": {}})


def test_fine_tuning_wants_a_log_and_a_run_to_start_from(own):
    a_log("first")
    a_log("second")
    a_log("elsewhere", "demo-untrained")
    at = choose(open_page(data="demo"), "policy-finetune")
    log = at.selectbox(key="trn_policy-finetune_log")
    assert set(log.options) == {"first", "second"} and train_recipes.LOGS in words(at)
    log.set_value("first").run()
    planned = plan("policy-finetune", "demo", {"log": "first"}, later=True)
    assert planned.asked["source_run"] == "demo-transfer-sasrec"
    assert command(at) == f"{planned.asked['command']} --queue" and "--set log=first" in command(at)
    assert plain(train_recipes.ABOUT["policy-finetune"]) in [one.value for one in at.markdown] and not at.warning
    starts = at.selectbox(key="trn_source")
    assert starts.label == "Starts from" and {"demo-transfer-sasrec", "demo-target-sasrec"} < set(starts.options)
    starts.set_value("demo-target-sasrec").run()
    assert "--source-run demo-target-sasrec" in command(at)
    at.button(key="trn_start").click().run()
    (name,) = queued()
    config = open_run(name).config()
    assert (config["recipe"], config["source_run"]) == ("policy-finetune", "demo-target-sasrec")
    assert config["settings"]["log"] == "first"
    no_run = train_recipes.obstacle("policy-finetune", DomainPair.open("demo-untrained"))
    assert no_run == "there is no finished SASRec run of it to start from"


def test_the_command_has_what_differs_from_the_preset(own):
    at = choose(open_page(data="demo"), "target-sasrec")
    at = setting(at, "target-sasrec", epochs=7, lr=0.003)
    assert command(at).endswith("--set epochs=7 --set lr=0.003 --queue")
    at.selectbox(key="trn_split").set_value("cold-user-50").run()
    at.number_input(key="trn_seed").set_value(3).run()
    at.text_input(key="trn_name").set_value("mine").run()
    assert "--seed 3 --split cold-user-50" in command(at) and command(at).endswith("--queue --name mine")
    at = setting(at, "target-sasrec", preset="classic")  # the other fields take its values
    assert at.number_input(key="trn_target-sasrec_epochs").value == 20
    assert command(at).count("--set") == 1 and "--set preset=classic" in command(at)
    at = setting(at, "target-sasrec", heads=4)  # not on the page while "All settings" is folded
    assert "--set heads=4" in command(at) and not at.warning
    at.button(key="trn_start").click().run()
    config = open_run("mine").config()
    assert config["settings"] == plan("target-sasrec", "demo", {"preset": "classic", "heads": 4}).asked["settings"]
    assert config["split"] == {"kind": "cold-user-50", "seed": 3} and config["seed"] == 3


def test_all_dimensions_of_the_text_are_kept_with_nought(own):
    at = setting(choose(open_page(data="demo"), "content"), "content", components=0, encoder="static")
    assert "--set components=none" in command(at)
    at.button(key="trn_start").click().run()
    assert list_runs("demo", "content")[0].config()["settings"]["components"] is None


@pytest.mark.parametrize(
    ("recipe", "values", "said"),
    [
        ("target-sasrec", {"epochs": -1}, "epochs (-1) must be positive."),
        ("target-sasrec", {"lr": 0.0}, "lr (0.0) must be positive."),
        ("target-sasrec", {"dim": 10**7}, "dim (10,000,000) must be at most 4,096."),
        ("target-sasrec", {"dropout": 1.5}, "dropout (1.5) must be in [0, 1)."),
        ("target-sasrec", {"heads": 7}, "dim (64) must be divisible by heads (7)."),
        ("linear-map", {"ridge": -3.0}, "ridge (-3.0) must be positive."),
        ("racrec", {"mode": "classic", "selection": "coattention"}, "mode=classic has selection=mean"),
    ],
)
def test_nonsense_gets_a_sentence_and_no_start(own, recipe, values, said):
    at = choose(open_page(data="demo"), recipe)
    for name, value in values.items():
        at = setting(at, recipe, **{name: value})
    assert not at.exception and said in words(at) and len(at.warning) == 1
    assert "Start" not in buttons(at) and not queued()


@pytest.mark.parametrize("name", ["../up", "a b", "/etc/passwd", "demo-popularity", "ä" * 300, "."])
def test_names_that_cannot_be(own, name):
    at = choose(open_page(data="demo"), "popularity")
    at.text_input(key="trn_name").set_value(name).run()
    assert not at.exception and len(at.warning) == 1
    assert "Start" not in buttons(at) and not queued()


def test_start_puts_into_the_queue_once_and_shows_the_run(own):
    at = setting(choose(open_page(data="demo"), "target-sasrec"), "target-sasrec", epochs=5)
    at.button(key="trn_start").click().run()
    (name,) = queued()
    assert not at.exception and at.query_params["run"] in (name, [name])
    assert open_run(name).config()["settings"]["epochs"] == 5
    assert name in words(at) and "It is the next in the queue." in at.get("progress")[0].proto.text
    assert any(f"{name} was put into the queue." in one.value.replace("\\", "") for one in at.toast)
    # The same form again: nothing is started twice.
    at.session_state["trn_tab"] = "New training"
    at.run()
    assert at.button(key="trn_start").disabled and f"is under way as {name}" in words(at)
    assert queued() == [name] and not at.exception


def test_what_a_browser_sends_late_does_not_leave_the_run_that_was_started(own):
    at = setting(choose(open_page(data="demo"), "target-sasrec"), "target-sasrec", epochs=5)
    at.button(key="trn_start").click().run()
    # A field that the press has left is told once more, with the tabs as they were.
    old, new = (f"trn_tab_{at.session_state['trn_tab_drawn']['number'] - back}" for back in (1, 0))
    at.session_state[old] = "New training"
    at.run()
    assert at.session_state["trn_tab"] == "Runs" and queued()[0] in words(at) and not at.exception
    # Whoever opens a tab of those that are drawn gets it.
    at.session_state[new] = "New training"
    at.run()
    assert at.session_state["trn_tab"] == "New training" and at.button(key="trn_start") and not at.exception


def test_the_second_of_a_double_press_starts_nothing(own):
    said = []
    wanted = train_form.Wanted("target-sasrec", "demo", {"epochs": 5}, 0, "next-item", None, None)
    for _ in range(2):
        train_form.start(wanted, lambda run, words: said.append((run.name, words)))
    (name,) = queued()
    assert said == [
        (name, f"{name} was put into the queue."),
        (name, f"{name} is under way already: nothing was started twice."),
    ]


def test_what_is_finished_already_is_told(own):
    at = choose(open_page(data="demo"), "popularity")
    assert "The same training is finished as demo-popularity" in words(at) and not at.button(key="trn_start").disabled


def test_the_three_are_queued_in_order_and_only_once(own):
    at = choose(open_page(data="demo-untrained"), "transfer-sasrec")
    assert "there is none for this data and split yet" in words(at) and "Start" not in buttons(at)
    at = setting(at, "transfer-sasrec", epochs=6, fusion="add")
    at.button(key="trn_three").click().run()
    assert not at.exception
    configs = [open_run(name).config() for name in queued()]
    assert [config["recipe"] for config in configs] == ["source-sasrec", "transfer-sasrec", "target-sasrec"]
    assert [config["settings"]["epochs"] for config in configs] == [6, 6, 6]
    assert configs[1]["source_run"] == queued()[0] and configs[1]["settings"]["fusion"] == "add"
    assert f"{train_words.now([], 3, 0, 'x')}" in words(at)
    before = queued()
    at.session_state["trn_tab"] = "New training"
    at.run()
    at.button(key="trn_three").click().run()
    assert queued() == before and not at.exception


def test_transfer_says_which_source_it_starts_from(own):
    put("source-sasrec", name="other-source")
    at = choose(open_page(data="demo"), "transfer-sasrec")
    at.selectbox(key="trn_source").set_value("demo-source-sasrec").run()
    assert "--source-run demo-source-sasrec" in command(at)
    at.selectbox(key="trn_source").set_value("other-source").run()
    at.button(key="trn_start").click().run()
    assert open_run(queued()[-1]).config()["source_run"] == "other-source"


# --- its cost --------------------------------------------------------------------------------------------------------


def test_the_cost_is_shown_or_measured(own, monkeypatch):
    begun = []
    monkeypatch.setattr(estimate, "begin", begun.append)
    monkeypatch.setattr(estimate, "known", lambda planned: None)
    at = choose(open_page(data="demo"), "target-sasrec")
    assert "its cost is not known" in words(at) and not at.metric
    at.button(key="trn_measure").click().run()
    assert [planned.recipe.name for planned in begun] == ["target-sasrec"] and not at.exception
    monkeypatch.setattr(estimate, "under_way", lambda planned: True)
    assert "are being trained, to measure" in words(at.run()) and "trn_measure" not in {b.key for b in at.button}
    monkeypatch.setattr(estimate, "under_way", lambda planned: False)
    monkeypatch.setattr(estimate, "failure", lambda planned: "It has no room.")
    assert "It has no room." in [one.value for one in at.run().warning]
    monkeypatch.setattr(estimate, "known", lambda planned: Estimate(75.0, 300.0, 1500, 2.0, "As a run took."))
    at.run()
    assert {metric.label: (metric.value, metric.delta) for metric in at.metric} == {
        "Time": ("1 min 15 s", "at most 5 min 0 s"),
        "Memory": ("1.5 GB", ""),
    }
    assert "As a run took." in words(at) and not at.warning
    monkeypatch.setattr(estimate, "free_memory_mb", lambda: 1000)
    assert [one.value for one in at.run().warning] == [
        "It takes 1.5 GB, and 1.0 GB are free: choose a smaller width or batch, or close other programs."
    ]


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_running_run_is_told_with_its_curves(own):
    name, other = put(name="one").name, put(seed=1, name="two").name
    with worked_on(name) as writer:
        writer.event(
            {
                "event": "step",
                "epoch": 1,
                "epochs": 9,
                "step": 1,
                "steps": 4,
                "loss": 6.5,
                "seconds": 1.0,
                "eta": 30.0,
                "rate": 60.0,
            }
        )
        at = open_page(data="demo", run=name)
        assert "one is in epoch 1 of at most 9, at most 30 seconds left; 1 more waits." in words(at)
        assert "Loss within the first epoch" in words(at) and len(at.get("vega_lite_chart")) == 1
        for epoch, best, score in ((1, 1, 0.1), (2, 2, 0.3), (3, 2, 0.2)):
            writer.event(told(epoch, best, score))
        at.run()
        assert not at.exception and len(at.get("vega_lite_chart")) == 3
        shown = {metric.label: metric.value for metric in at.metric}
        assert shown == {"Epoch": "3", "Best NDCG@10": "0.3000", "Speed": "50/s", "Left, at most": "12 s"}
        assert {"Cancel", "Duplicate with changes"} <= buttons(at) and not {"Delete", "Resume"} & buttons(at)
        table = at.dataframe[0].value.set_index("Run")
        assert table.loc[name, "State"] == "Epoch 3 of 9" and table.loc[other, "State"] == "Waits, next"
        assert list(table.loc[name, "Loss"]) == pytest.approx([5.0, 2.5, 5 / 3])
        assert 0.2 < table.loc[name, "Progress"] < 0.34
        writer.end("stopped")
    at.run()
    assert "Stopped in epoch 3 of at most 9." in at.get("progress")[0].proto.text and "Resume" in buttons(at)


def test_a_failed_run_says_why_and_what_to_do(own):
    name = put(name="one").name
    with worked_on(name) as writer:
        (own / "runs" / name / "log.txt").write_text("a line of it\n")
        writer.end("failed", "The *disk* is full: free some space and resume.")
    at = open_page(data="demo", run=name)
    assert [one.value for one in at.error] == [plain("The *disk* is full: free some space and resume.")]
    assert "Resume goes on from the beginning" in words(at) and "a line of it" in [one.value for one in at.code][-1]
    at.button(key="trn_act_resume").click().run()
    assert queued() == [name] and not at.error


def test_a_dead_worker_is_told(own):
    name = put(name="one").name
    with worked_on(name):
        pass  # its lock is let go without a word
    at = open_page(data="demo", run=name)
    assert "ended without a word" in at.error[0].value and open_run(name).status()["state"] == "failed"


def test_a_finished_run_has_its_numbers_and_ways_on(own):
    at = open_page(data="demo", run="demo-transfer-sasrec")
    full = open_run("demo-transfer-sasrec").metrics()["test"]["groups"]["all"]
    assert f"Tested on {full['users']:,} people:** NDCG@10 {full['full']['ndcg@10']:.3f}" in words(at)
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["Compare it with the others"] == "data=demo&cmp_runs=demo-transfer-sasrec"
    assert links["Let it recommend"] == "data=demo"
    at = open_page(data="demo", run="demo-racrec")
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["Compare it with the others"] == "data=demo&cmp_split=Strangers%2C+cold-user-50"
    assert len(at.get("vega_lite_chart")) >= 5
    at = open_page(data="demo", run="demo-source-sasrec")
    at.button(key="trn_act_transfer").click().run()
    assert not at.exception and command(at).startswith("crossrec train transfer-sasrec")
    assert "--source-run demo-source-sasrec" in command(at) and "--set dim=16" in command(at)


def test_the_queue_is_moved_cancelled_resumed(own):
    names = [put(seed=seed, name=f"r{seed}").name for seed in range(3)]
    at = open_page(data="demo", run="r2")
    at.button(key="trn_act_up").click().run()
    assert queued() == ["r0", "r2", "r1"]
    at.button(key="trn_act_first").click().run()
    assert queued() == ["r2", "r0", "r1"]
    at.button(key="trn_act_down").click().run()
    assert queued() == ["r0", "r2", "r1"]
    at.button(key="trn_act_out").click().run()
    assert queued() == ["r0", "r1"] and open_run("r2").state == "stopped"
    at.button(key="trn_act_resume").click().run()
    assert queued() == ["r0", "r1", "r2"] and not at.exception
    with worked_on("r2"):  # began between the drawing of the page and the press
        at.button(key="trn_act_first").click().run()
    assert any("does not wait in the queue" in one.value.replace("\\", "") for one in at.toast)
    assert set(names) <= {run.name for run in list_runs("demo")} and not at.exception


def test_delete_asks_first(own):
    put(name="one")
    at = open_page(data="demo", run="one")
    at.button(key="trn_act_delete").click().run()
    assert (own / "runs" / "one").exists() and "will be gone for good" in words(at)
    at.button(key="trn_delete_no").click().run()
    assert (own / "runs" / "one").exists()
    at.button(key="trn_act_delete").click().run()
    at.button(key="trn_delete_yes").click().run()
    assert not (own / "runs" / "one").exists() and not at.exception


def test_a_run_is_duplicated_with_changes(own):
    put("racrec", settings={"encoder": "static", "components": None, "epochs": 4, "stars": False}, seed=5, name="one")
    at = open_page(data="demo", run="one")
    at.button(key="trn_act_duplicate").click().run()
    assert not at.exception and at.selectbox(key="trn_recipe").value == "racrec"
    for word in ("--seed 5", "encoder=static", "components=none", "epochs=4", "stars=False"):
        assert word in command(at)
    assert command(at).count("--set") == 4 and at.button(key="trn_start").disabled
    at = setting(at, "racrec", epochs=3)
    at.button(key="trn_start").click().run()
    assert len(queued()) == 2


# --- addresses and odd folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [("demo-populari", "did you mean 'demo-popularity'"), ("../../etc", "run"), ("nothing like it", "run"), ("", "")],
)
def test_an_address_with_a_wrong_run(own, name, said):
    at = open_page(data="demo", run=name)
    assert not at.exception
    if said:
        assert len(at.warning) == 1 and said in at.warning[0].value.replace("\\", "").lower()
        assert at.dataframe


def test_odd_folders_are_left_out_and_told(own):
    for name, text in (("odd", "{"), ("strange", "{}"), ("list", "[]")):
        (own / "runs" / name).mkdir()
        for file in ("config.json", "status.json"):
            (own / "runs" / name / file).write_text(text)
    at = open_page(data="demo", run="demo-popularity")
    assert "3 folders in" in words(at) and not at.exception
    (own / "runs" / "one").mkdir()
    write_status(own / "runs" / "one", {"state": "queued"})
    assert not at.run().exception


def test_runs_of_all_datasets(own):
    put("popularity", "single", {}, name="elsewhere")
    at = open_page(data="demo", run="demo-popularity")
    assert "elsewhere" not in set(at.dataframe[0].value["Run"])
    at.toggle(key="trn_all").set_value(True).run()
    assert at.dataframe[0].value["Run"].iloc[0] == "elsewhere"


def test_other_pages_lead_here(own):
    for page in ("home", "compare"):
        at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
        at.query_params["data"] = "demo-untrained"
        at.run()
        if page != "home":
            at.query_params["data"] = "demo-untrained"
            at.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
        links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
        assert links["Train them here"] == "data=demo-untrained"


# --- words -----------------------------------------------------------------------------------------------------------


def test_times_are_said_as_people_do():
    assert [train_words.span(s) for s in (0.2, 1, 42, 150, 7200, 3e6)] == [
        "less than a second", "1 second", "42 seconds", "2 minutes", "2.0 hours", "35 days",
    ]  # fmt: skip
    assert [train_words.short(s) for s in (0.2, 4.25, 42, 185, 2400, 7500, 2e5)] == [
        "under 1 s", "4.2 s", "42 s", "3 min 5 s", "40 min", "2 h 5 min", "2 days 7 h",
    ]  # fmt: skip


def test_progress_is_of_all_epochs():
    status = {"state": "running", "epoch": 3, "epochs": 10, "step": 5, "steps": 10}
    assert train_words.done(status) == pytest.approx(0.25)
    assert train_words.done({"state": "queued"}) == 0 and train_words.done({"state": "finished"}) == 1


def test_a_long_training_keeps_its_best_and_last_epoch():
    epochs = [{"epoch": epoch, "best": 7 if epoch > 6 else epoch} for epoch in range(1, 5001)]
    kept = [event["epoch"] for event in train_runs._thinned(epochs)]
    assert len(kept) <= train_runs.CURVE + 1 and kept == sorted(kept) and {7, 5000} <= set(kept)
    assert train_runs._thinned(epochs[:9]) == epochs[:9] and train_runs._thinned([]) == []


def test_small_curves_keep_their_ends():
    values = [float(i) for i in range(1000)]
    thin = train_runs.thinned(values)
    assert len(thin) <= train_runs.POINTS and thin[-1] == 999.0 and thin == sorted(thin)
    assert train_runs.thinned([1.0, None, 2.0]) == [1.0, 2.0] and train_runs.thinned([]) == []


def test_a_preset_that_is_unknown_is_refused():
    with pytest.raises(CrossrecError):
        train_settings.usual(RECIPES["target-sasrec"], "nothing")
