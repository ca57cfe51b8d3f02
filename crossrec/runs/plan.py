"""A training before anything is written: every name and setting looked through, and what is open already."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from crossrec import processes
from crossrec.config import from_dict
from crossrec.data.logged import list_logs, open_log
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import Split, open_split, split_unstored
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Recommender
from crossrec.runs.folder import Run, matching, open_run
from crossrec.text.dataset import with_vectors
from crossrec.text.encoder import load_encoder
from crossrec.training.job import Recipe
from crossrec.training.loop import OnEvent
from crossrec.training.policy import FinetuneConfig
from crossrec.training.recipes import find_recipe

START_WORDS = {"policy-finetune": "SASRec run to fine-tune"}
"""What a recipe starts from, where it is not a source model."""


@dataclass(frozen=True)
class Plan:
    """A training that was looked through before anything is written: what it will be, and what is open already."""

    recipe: Recipe
    config: Any
    asked: dict[str, Any]
    """What goes to config.json."""
    pair: DomainPair
    split: Split

    @property
    def view(self) -> tuple[DomainPair, Split]:
        return view(self.recipe, self.pair, self.split)


def plan(
    recipe_name: str,
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_kind: str = "next-item",
    source_run: str | None = None,
    track: bool = False,
    later: bool = False,
    split_seed: int | None = None,
    tested: bool = True,
) -> Plan:
    """Looks through what `train` is asked for.

    Args:
        split_seed: of a cold-user split, where it is another than that of the training: several seeds can then be
            compared on the same people.
        later: the run that it starts from may still be in training, for by then it will be finished.
        tested: whether the test part is looked at; without it the run is known by its validation alone.

    Raises:
        CrossrecError: a name or a setting is wrong.
    """
    if min(seed, split_seed or 0) < 0:
        raise CrossrecError(f"A seed is a number from 0, and {min(seed, split_seed or 0)} is not.")
    recipe = find_recipe(recipe_name)
    config: Any = from_dict(recipe.config, settings or {})
    pair = DomainPair.open(dataset)
    if "source-sasrec" in (recipe.name, *recipe.starts_from):
        _require_source(pair)
    if isinstance(config, FinetuneConfig):
        _require_log(config.log, pair)
    with processes.main_first():
        split = open_split(pair, split_kind, seed if split_seed is None else split_seed)
    if recipe.starts_from:
        source_run = _source_run(recipe, pair, split, source_run, seed, later).name
    elif source_run is not None:
        raise CrossrecError(f"{recipe.name} starts from no run: leave the source run {source_run!r} out.")
    seen = view(recipe, pair, split)[1]
    if not (len(seen.valid) and len(seen.test)):
        raise CrossrecError(
            f"The {split_kind} split of {dataset!r} leaves nobody to validate or to test on: it needs more users "
            "with at least two target events."
        )
    if reads_text(recipe, config, pair):
        load_encoder(config.encoder)  # it is found, or told
    if track:
        _require_tracking()
    if not tested and isinstance(config, FinetuneConfig):
        raise CrossrecError(f"{recipe.name} is told by what it does to the test part: train it with the test.")
    asked = {
        "recipe": recipe.name,
        "title": recipe.title,
        "domain": recipe.domain,
        "dataset": dataset,
        "dataset_hash": pair.meta["hash"],
        "split": {"kind": split.kind, "seed": split.seed},
        "seed": seed,
        "settings": asdict(config),
        "source_run": source_run,
        "track": track,
        **({} if tested else {"tested": False}),
        "command": command_line(recipe_name, dataset, settings or {}, seed, split, source_run, track, tested),
    }
    return Plan(recipe, config, asked, pair, split)


def command_line(
    recipe: str,
    dataset: str,
    settings: Mapping[str, Any],
    seed: int,
    split: Split,
    source_run: str | None,
    track: bool = False,
    tested: bool = True,
) -> str:
    """The command that repeats a training."""
    words = ["crossrec", "train", recipe, "--dataset", dataset, "--seed", str(seed)]
    words += ["--split", split.kind] if split.kind != "next-item" else []
    words += ["--split-seed", str(split.seed)] if split.cold and split.seed != seed else []
    words += ["--source-run", source_run] if source_run else []
    words += ["--track"] if track else []
    words += [] if tested else ["--no-test"]
    return shlex.join(words + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")])


def view(recipe: Recipe, pair: DomainPair, split: Split) -> tuple[DomainPair, Split]:
    """The pair and split as a recipe sees them: a source recipe has the visible source domain in the target's place."""
    if recipe.domain == "target":
        return pair, split
    alone = pair.source_alone(split.source_train_end)
    return alone, split_unstored(alone)


def reads_text(recipe: Recipe, config: Any, pair: DomainPair) -> bool:
    """Whether a training reads vectors: of a recipe that can do without, where an encoder and words are there."""
    if not recipe.takes_text or config.encoder is None:
        return recipe.needs_text
    known = [which for which in DOMAINS if pair.domain(which).n_items]
    return any(pair.meta["domains"][w]["has_text"] or pair.items(w)["title"].notna().any() for w in known)


def with_text(pair: DomainPair, encoder: str, most_reviews: int, on_event: OnEvent = lambda event: None) -> DomainPair:
    """The pair with the vectors of what is read of it: source reviews of people in both domains, all target reviews."""
    wanted = {"source": np.repeat(pair.overlap, pair.source.counts), "target": np.ones(len(pair.target.items), bool)}
    return replace(with_vectors(pair, encoder, wanted, on_event), most_reviews=most_reviews)


def _require_source(pair: DomainPair) -> None:
    if not pair.source.n_items:
        raise CrossrecError(f"The dataset {pair.name!r} has a single domain: only target recipes can be trained on it.")


def _require_log(name: str, pair: DomainPair) -> None:
    """Raises CrossrecError where a feedback log is not there, or belongs to other data; the sentence says which are."""
    if not name:
        there = ", ".join(list_logs(pair.name)) or "none yet; the feedback page and `crossrec feedback import` make one"
        raise CrossrecError(f"Name the feedback log that is learned from: --set log=NAME; of {pair.name!r}: {there}.")
    open_log(name).check(pair)


def _source_run(recipe: Recipe, pair: DomainPair, split: Split, name: str | None, seed: int, later: bool) -> Run:
    """The run that a recipe starts from: the one that is named, or the newest on the same data and split.

    Of several recipes the preferred one is looked for first, and of its runs those of the seed.

    later: one that waits or is in training will do.
    """
    wanted = {"dataset_hash": pair.meta["hash"], "split": {"kind": split.kind, "seed": split.seed}}
    states = ("finished", "queued", "running") if later else ("finished",)
    what = START_WORDS.get(recipe.name, "source model")
    if name is None:
        for start in recipe.starts_from:
            asked = pair.name, start, states
            if found := matching(*asked, **wanted, seed=seed) or matching(*asked, **wanted):
                return found[0]
        command = {"source-sasrec": "train-source"}.get(recipe.starts_from[0], f"train {recipe.starts_from[0]}")
        raise CrossrecError(
            f"There is no finished {what} for {pair.name!r} with this data and split: "
            f"run `crossrec {command} --dataset {pair.name}` first."
        )
    run = open_run(name)
    config = run.config()
    wanted |= {"dataset": pair.name}
    if config["recipe"] not in recipe.starts_from or any(config[key] != value for key, value in wanted.items()):
        raise CrossrecError(f"Run {name!r} is not a {what} of {pair.name!r} with this data and split.")
    if (state := run.state) not in states:
        raise CrossrecError(f"The {what} {name!r} is not there yet: its state is {state!r}.")
    return run


def open_start(planned: Plan) -> Recommender:
    """What the finished run that a plan starts from recommends with.

    Raises:
        CrossrecError: the run is not finished, or is gone.
    """
    asked = planned.asked
    run = _source_run(planned.recipe, planned.pair, planned.split, asked["source_run"], asked["seed"], later=False)
    return Recommender.load(run.recommender)


def _require_tracking() -> None:
    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise CrossrecError(
            "TensorBoard is not installed: `pip install 'crossrec[tracking]'`, or train without --track."
        )
