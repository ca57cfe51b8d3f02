"""A training before anything is written: every name and setting looked through, and what is open already."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from crossrec import processes
from crossrec.config import from_dict
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import Split, open_split, split_next_item
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.runs.folder import Run, matching, open_run
from crossrec.text.dataset import with_vectors
from crossrec.text.encoder import load_encoder
from crossrec.training.job import Recipe
from crossrec.training.loop import OnEvent
from crossrec.training.recipes import find_recipe


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
) -> Plan:
    """Looks through what `train` is asked for.

    Args:
        split_seed: of a cold-user split, where it is another than that of the training: several seeds can then be
            compared on the same people.
        later: the source model may still be in training, for by then it will be finished.

    Raises:
        CrossrecError: a name or a setting is wrong.
    """
    recipe = find_recipe(recipe_name)
    config: Any = from_dict(recipe.config, settings or {})
    pair = DomainPair.open(dataset)
    if recipe.domain == "source" or recipe.needs_source:
        _require_source(pair)
    with processes.main_first():
        split = open_split(pair, split_kind, seed if split_seed is None else split_seed)
    if recipe.needs_source:
        source_run = _source_run(pair, split, source_run, seed, later).name
    elif source_run is not None:
        raise CrossrecError(f"{recipe.name} reads no source model: leave the source run {source_run!r} out.")
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
        "command": command_line(recipe_name, dataset, settings or {}, seed, split, source_run, track),
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
) -> str:
    """The command that repeats a training."""
    words = ["crossrec", "train", recipe, "--dataset", dataset, "--seed", str(seed)]
    words += ["--split", split.kind] if split.cold else []
    words += ["--split-seed", str(split.seed)] if split.cold and split.seed != seed else []
    words += ["--source-run", source_run] if source_run else []
    words += ["--track"] if track else []
    return shlex.join(words + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")])


def view(recipe: Recipe, pair: DomainPair, split: Split) -> tuple[DomainPair, Split]:
    """The pair and split as a recipe sees them: a source recipe has the visible source domain in the target's place."""
    if recipe.domain == "target":
        return pair, split
    alone = pair.source_alone(split.source_train_end)
    return alone, split_next_item(alone)


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


def _source_run(pair: DomainPair, split: Split, name: str | None, seed: int, later: bool) -> Run:
    """The run of the source model: the one that is named, or the newest on the same data and split, of the seed first.

    later: one that waits or is in training will do.
    """
    wanted = {"dataset_hash": pair.meta["hash"], "split": {"kind": split.kind, "seed": split.seed}}
    states = ("finished", "queued", "running") if later else ("finished",)
    if name is None:
        asked = pair.name, "source-sasrec", states
        found = matching(*asked, **wanted, seed=seed) or matching(*asked, **wanted)
        if not found:
            raise CrossrecError(
                f"There is no finished source model for {pair.name!r} with this data and split: "
                f"run `crossrec train-source --dataset {pair.name}` first."
            )
        return found[0]
    run = open_run(name)
    config = run.config()
    wanted |= {"recipe": "source-sasrec", "dataset": pair.name}
    if any(config[key] != value for key, value in wanted.items()):
        raise CrossrecError(f"Run {name!r} is not a source model of {pair.name!r} with this data and split.")
    if (state := run.state) not in states:
        raise CrossrecError(f"The source model {name!r} is not there yet: its state is {state!r}.")
    return run


def open_source_model(planned: Plan) -> SASRec:
    """The frozen source model that a plan names.

    Raises:
        CrossrecError: its run is not finished, or is gone.
    """
    name, seed = planned.asked["source_run"], planned.asked["seed"]
    recommender = Recommender.load(_source_run(planned.pair, planned.split, name, seed, later=False).recommender)
    assert isinstance(recommender, SASRecRecommender)
    return recommender.model


def _require_tracking() -> None:
    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise CrossrecError(
            "TensorBoard is not installed: `pip install 'crossrec[tracking]'`, or train without --track."
        )
