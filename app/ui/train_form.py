"""The form of a training: what it will cost, the same thing as a command, and its start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.ui import cards, state, train_recipes, train_settings, train_words
from app.ui.errors import as_sentence, plain
from crossrec import paths
from crossrec.data.logged import list_logs
from crossrec.data.split import ALL_SOURCE, KINDS, MERGED
from crossrec.errors import CrossrecError
from crossrec.runs import estimate
from crossrec.runs.execute import enqueue
from crossrec.runs.folder import Run, list_runs, matching
from crossrec.runs.plan import Plan, plan
from crossrec.training.job import Recipe
from crossrec.training.recipes import RECIPES

FIRST = "transfer-sasrec"
NEWEST = "the newest"
MOST_SEED = 2**31 - 1
SPLITS = {
    "next-item": "Known people",
    "cold-user": "Strangers: a tenth",
    "cold-user-20": "Strangers: a fifth",
    "cold-user-50": "Strangers: half",
    "cold-user-80": "Strangers: four fifths",
}
UNDER_WAY = ("queued", "running", "stopping")


@dataclass(frozen=True)
class Wanted:
    """What the form asks for."""

    recipe: str
    dataset: str
    settings: dict[str, Any]
    seed: int
    split: str
    source: str | None
    name: str | None

    def plan(self) -> Plan:
        """Looked through anew: what is on disk may have changed since the form was drawn."""
        return plan(self.recipe, self.dataset, self.settings, self.seed, self.split, self.source, later=True)

    def of(self, recipe: str, source: str | None = None) -> "Wanted":
        """The same settings and seed for another recipe."""
        names = train_settings.fields_of(RECIPES[recipe])
        return Wanted(
            recipe, self.dataset, train_settings.both(list(names), self.settings), self.seed, self.split, source, None
        )


def split_words(kind: str) -> str:
    return SPLITS.get(kind) or f"{SPLITS[kind.removesuffix(ALL_SOURCE)]}, all source"


# --- the form --------------------------------------------------------------------------------------------------------


def form(dataset: str, started: Callable[[Run, str], None]) -> None:
    """All of the form; `started` is told of the run to look at, and what happened."""
    pair = state.pair(dataset)
    possible, refused = train_recipes.offered(pair)
    if st.session_state.get("trn_recipe", possible[0]) not in possible:
        del st.session_state["trn_recipe"]
    with st.container(border=True):
        left, right = st.columns([2, 3], gap="medium", vertical_alignment="bottom")
        with left:
            name = _recipe(possible)
        with right:
            st.markdown(plain(train_recipes.ABOUT[name]))
        if refused:
            told = "; ".join(f"{', '.join(titles)} ({why})" for why, titles in refused.items())
            st.caption(f":material/block: {plain(f'Not on this data: {told}.')}")
        recipe = RECIPES[name]
        with st.grid(4, min_column_width=150):
            split = st.selectbox(
                "Tested on",
                [kind for kind in KINDS if kind != MERGED],
                format_func=split_words,
                key="trn_split",
                bind="query-params",
                persist_state="session",
                help="Known people are asked for their next item. Strangers are a share of the people in both domains, "
                "whose whole target history is hidden; “all source” shows also what they did later in the source. "
                "Runs are compared on the same split.",
            )
            seed = st.number_input(
                "Seed",
                min_value=0,
                max_value=MOST_SEED,
                step=1,
                key="trn_seed",
                persist_state="session",
                help="Of all that is drawn: the same seed and settings come to the same model.",
            )
            called = st.text_input(
                "Name of the run",
                max_chars=80,
                key="trn_name",
                persist_state="session",
                placeholder="made of dataset and recipe",
                help="Letters, digits, dots, dashes and underscores. Left empty, one is made.",
            )
            source = _source(name, dataset, split, int(seed)) if recipe.starts_from else None
            own = {"log": _log(recipe, dataset)} if "log" in train_settings.fields_of(recipe) else {}
        if own:
            st.caption(train_recipes.LOGS)
        with as_sentence():
            settings = train_settings.ask(recipe, own)
            wanted = Wanted(name, dataset, settings, int(seed), split, source, called.strip() or None)
            _below(wanted, started)


def _recipe(possible: list[str]) -> str:
    return st.selectbox(
        "Recipe",
        possible,
        index=possible.index(FIRST) if FIRST in possible else 0,
        format_func=lambda name: RECIPES[name].title,
        key="trn_recipe",
        bind="query-params",
        persist_state="session",
        help="What is trained.",
    )


def _source(recipe: str, dataset: str, split: str, seed: int) -> str | None:
    """The run that a recipe starts from; None for the one that fits best."""
    names = [run.name for run in sources(recipe, dataset, split, seed)]
    if len(names) < 2:
        return None
    if st.session_state.get("trn_source", NEWEST) not in [NEWEST, *names]:
        del st.session_state["trn_source"]
    chosen = st.selectbox(
        "Source model" if RECIPES[recipe].starts_from == ("source-sasrec",) else "Starts from",
        [NEWEST, *names],
        key="trn_source",
        persist_state="session",
        help=f"A finished or waiting run of {start_words(recipe)}, on the same data and split.",
    )
    return None if chosen == NEWEST else chosen


def _log(recipe: Recipe, dataset: str) -> str:
    """The feedback log that is learned from."""
    names, key = list_logs(dataset), train_settings.key(recipe, "log")
    if st.session_state.get(key) not in names:
        st.session_state.pop(key, None)
    return st.selectbox(
        "Feedback log",
        names,
        key=key,
        persist_state="session",
        help="What people were shown, how probably, and what they did. On the command line: `--set log=…`.",
    )


def start_words(recipe: str) -> str:
    """Titles of the recipes that one starts from."""
    return " or ".join(RECIPES[name].title for name in RECIPES[recipe].starts_from)


def sources(recipe: str, dataset: str, split: str, seed: int) -> list[Run]:
    """Runs that a recipe can start from, now or once they are trained; of the preferred recipe first."""
    hash_ = paths.read_json(paths.datasets() / dataset / "dataset.json")["hash"]
    states = ("finished", "queued", "running")
    found = [
        run for start in RECIPES[recipe].starts_from for run in matching(dataset, start, states, dataset_hash=hash_)
    ]
    kinds = [run.config()["split"] for run in found]
    wanted = {"kind": split, "seed": 0 if split == "next-item" else seed}
    return [run for run, kind in zip(found, kinds, strict=True) if kind == wanted]


# --- below it: problem or cost, command, start -----------------------------------------------------------------------


def _below(wanted: Wanted, started: Callable[[Run, str], None]) -> None:
    there = sources("transfer-sasrec", wanted.dataset, wanted.split, wanted.seed)
    starts = RECIPES[wanted.recipe].starts_from
    if wanted.recipe in train_recipes.THREE and starts and not there:
        st.markdown(
            ":material/info: Transfer starts from a model of the source domain, and there is none for this data and "
            "split yet. The three trainings below make it first."
        )
    elif starts and not sources(wanted.recipe, wanted.dataset, wanted.split, wanted.seed):
        st.markdown(
            plain(
                f":material/info: It starts from a finished run of {start_words(wanted.recipe)}, and there is none for "
                "this data and split yet: train one first."
            )
        )
    else:
        if wanted.name:
            _check_name(wanted.name)
        planned = look_through(wanted)
        left, right = st.columns(2, gap="large")
        with left:
            cost(planned)
        with right:
            st.markdown("**The same thing as a command**")
            queue = " --queue" + (f" --name {wanted.name}" if wanted.name else "")
            cards.commands(planned.asked["command"] + queue)
            _start_button(wanted, planned, started)
    if wanted.recipe in train_recipes.THREE and state.pair(wanted.dataset).source.n_items:
        _three_button(wanted, there, started)
    if failed := st.session_state.pop("trn_failed", None):
        st.warning(plain(failed), icon=":material/info:")


def look_through(wanted: Wanted) -> Plan:
    """The plan of the form as it stands, kept until the form or what it rests on changes.

    Raises:
        CrossrecError: a setting is wrong.
    """
    there = tuple(run.name for run in sources(wanted.recipe, wanted.dataset, wanted.split, wanted.seed))
    settings = tuple(wanted.settings.items())
    asked = (wanted.recipe, wanted.dataset, wanted.seed, wanted.split, wanted.source)
    return _planned(asked, settings, state.version(wanted.dataset), there)


@st.cache_resource(max_entries=2, show_spinner="Looking it through")
def _planned(
    asked: tuple[str, str, int, str, str | None], settings: tuple[Any, ...], version: state.Key, there: Any
) -> Plan:
    recipe, dataset, seed, split, source = asked
    return plan(recipe, dataset, dict(settings), seed, split, source, later=True)


def _check_name(name: str) -> None:
    paths.slug(name, "run")
    if (paths.runs() / name).exists():
        raise CrossrecError(f"There is a run {name!r} already; give the new one another name.")


def cost(planned: Plan) -> None:
    """Time and memory before the start, or how to find out."""
    busy = estimate.under_way(planned)
    st.fragment(_cost, run_every="1s" if busy else None)(planned, busy)


def _cost(planned: Plan, busy: bool) -> None:
    if busy and not estimate.under_way(planned):
        st.rerun()
    st.markdown("**What it takes**")
    found = estimate.known(planned)
    if found is not None:
        most = f"at most {train_words.short(found.most_seconds)}" if found.most_seconds > 1.05 * found.seconds else None
        help_ = "From the start to the tested model, by itself on this machine; at most, if nothing stops it early."
        cards.numbers(
            [
                cards.Number("Time", train_words.short(found.seconds), help_, most, delta_color="off", arrow="off"),
                cards.Number("Memory", train_words.memory(found.memory_mb), "The most that its process holds."),
            ]
        )
        st.caption(plain(found.basis))
        if found.memory_mb > (free := estimate.free_memory_mb()):
            st.warning(
                f"It takes {train_words.memory(found.memory_mb)}, and {train_words.memory(free)} are free: choose a "
                "smaller width or batch, or close other programs.",
                icon=":material/change_history:",
            )
        return
    if busy:
        st.markdown(":material/hourglass_top: A few seconds of it are being trained, to measure them…")
        return
    st.caption("Nothing like it has been trained on this machine yet, so its cost is not known.")
    if reason := estimate.failure(planned):
        st.warning(plain(reason), icon=":material/info:")
    if st.button(
        "Measure on this machine, about 10 s",
        key="trn_measure",
        icon=":material/timer:",
        help="Trains for a few seconds in a process of its own, and keeps nothing but the figures.",
    ):
        with as_sentence():
            estimate.begin(planned)
            st.rerun()


# --- start -----------------------------------------------------------------------------------------------------------


def identical(planned: Plan, states: tuple[str, ...]) -> Run | None:
    """A run that was asked for the very same and is in one of these states: it comes, or came, to the same model."""
    same = ("dataset_hash", "split", "seed", "settings", "source_run", "tested")
    for run in list_runs(planned.asked["dataset"], planned.asked["recipe"]):
        config = run.config()
        if all(config.get(key) == planned.asked.get(key) for key in same) and run.state in states:
            return run
    return None


def _start_button(wanted: Wanted, planned: Plan, started: Callable[[Run, str], None]) -> None:
    again = identical(planned, UNDER_WAY)
    before = again or identical(planned, ("finished",))
    st.button(
        "Start",
        key="trn_start",
        type="primary",
        icon=":material/play_arrow:",
        on_click=start,
        args=(wanted, started),
        disabled=again is not None,
        help="One training runs at a time; while one does, the others wait in the queue.",
    )
    if before is not None:
        kind = "is under way as" if again else "is finished as"
        st.caption(plain(f"The same training {kind} {before.name}; again it would come to the same model."))


def start(wanted: Wanted, started: Callable[[Run, str], None]) -> None:
    """Puts the training into the queue; a second press of the button finds the first one's run, and starts nothing."""
    with _failure_kept():
        planned = wanted.plan()
        if (there := identical(planned, UNDER_WAY)) is not None:
            started(there, f"{there.name} is under way already: nothing was started twice.")
            return
        run = enqueue(planned, wanted.name)
        st.session_state.pop("trn_name", None)
        started(run, f"{run.name} was put into the queue.")


def _three_button(wanted: Wanted, there: list[Run], started: Callable[[Run, str], None]) -> None:
    with st.container(border=True):
        st.markdown("**The trainings that answer the question**" if there else "**The three that answer the question**")
        if there:
            order = f"the model with transfer, which starts from {there[0].name}, and the baseline without it are"
        else:
            order = "first the source model, then the model with transfer, then the baseline without it are"
        st.markdown(
            plain(f"Does transfer help? To know it, {order} trained with the settings and the seed above, in a row.")
        )
        st.button(
            "Train these two" if there else "Train the three",
            key="trn_three",
            type="secondary" if there else "primary",
            icon=":material/playlist_play:",
            on_click=start_three,
            args=(wanted, started),
        )


def start_three(wanted: Wanted, started: Callable[[Run, str], None]) -> None:
    """Queues source model, transfer and baseline; what is there or under way already is not trained again."""
    with _failure_kept():
        there = sources("transfer-sasrec", wanted.dataset, wanted.split, wanted.seed)
        source = there[0].name if there else None
        runs, kept = [], 0
        for recipe in train_recipes.THREE[1 if there else 0 :]:
            planned = wanted.of(recipe, source if recipe == "transfer-sasrec" else None).plan()
            run = identical(planned, (*UNDER_WAY, "finished"))
            kept += run is not None
            run = run or enqueue(planned)
            runs.append(run)
            source = run.name if recipe == "source-sasrec" else source
        new = len(runs) - kept
        said = f"{new} training{'s were' if new != 1 else ' was'} put into the queue"
        started(runs[0], f"{said}; {kept} of the same settings are there already." if kept else f"{said}.")


@contextmanager
def _failure_kept() -> Iterator[None]:
    """A block of a callback whose failure is told beside the button, when the page is drawn."""
    try:
        yield
    except CrossrecError as error:
        st.session_state["trn_failed"] = str(error)
