"""The settings of a recipe as fields of a form: what each means, what it may be, and which of them were changed."""

import ast
import inspect
import math
import textwrap
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import streamlit as st

from app.ui.errors import capital
from crossrec.config import from_dict
from crossrec.errors import CrossrecError
from crossrec.models.bridge import BRIDGES, FUSIONS, POOLS
from crossrec.models.trend import MOMENTS, SIDES
from crossrec.models.unified import BLOCKS
from crossrec.training.job import Recipe
from crossrec.training.policy import WEIGHTS
from crossrec.training.simple import MEMORY

LABELS = {
    "preset": ("Preset", "Values for all settings at once; what is changed beside it still counts."),
    "mode": ("Mode", "Corrected, or classic for the arithmetic of the first review system, faults included."),
    "epochs": ("Epochs, at most", "Passes over the training data. Training stops sooner when validation stops rising."),
    "batch_size": ("Batch size", "Examples that are learned from at a time: more is faster an epoch, and takes more."),
    "lr": ("Learning rate", "How far a step goes. Too high and the loss jumps; too low and it hardly falls."),
    "sides": ("Sides", "past: what was taken up to the week of a person's last event; both: also what came after."),
    "days": ("Days", "Over which an event fades to a third; 0 keeps what ranks the validation people best."),
    "moments": ("Moments", "Asks about the last event of a person, or about all of them; auto keeps the better."),
    "dim": ("Width", "Numbers that describe an item or a person: more can say more, and cost more."),
    "taste_dim": ("Width of a taste", "Numbers that describe what a person likes: more can say more, and cost more."),
    "dropout": ("Dropout", "Share of the model that is switched off at random in training, against learning by heart."),
    "patience": ("Patience", "Epochs without a better validation score after which training stops."),
    "max_len": ("Events read", "Newest events of a person that are looked at."),
    "encoder": ("Text encoder", "Turns a review into numbers. minilm reads sentences; static is faster and coarser."),
    "most_reviews": ("Reviews read", "Newest reviews that are read of a person in each domain, and of an item."),
    "bridge": ("Bridge", "How taste is carried over: mlp, linear, personal (a map of one's own), or none: not at all."),
    "fusion": ("Fusion", "How what is known from the source joins the target: gate (learned mixture), add or concat."),
    "ridge": ("Ridge", "Holds the solution back: larger trusts the data less."),
    "networks": ("Networks", "Trained side by side and averaged: steadier lists, for so many times the cost."),
    "factors": ("Factors", "Numbers that describe a person or an item in each domain."),
    "mapping": ("Map", "From source taste to target taste: linear, solved at once, or mlp, a small network."),
    "neighbours": ("Neighbours", "People with the most similar history who vote."),
    "components": ("Dimensions kept", "Of the text vectors, after they are evened out; 0 keeps all."),
    "max_users": ("People, at most", "Of more, a sample is taken: time and memory grow with them."),
    "item_damping": ("Damping of items", "An item with so many ratings gets half of its own deviation."),
    "kl": ("Hold to the start", "Larger keeps the model closer to the one it starts from: less gained, less risked."),
    "cap": (
        "Cap of the weights",
        "The most that one shown item counts; lower is calmer, and learns less of rare ones.",
    ),
    "held_out": ("Held out", "Share of the sessions not learned from: half choose the epoch, half judge the gain."),
    "epsilon": ("Shown at random", "Share of what the policy shows by lot, whatever the scores say."),
    "user_damping": ("Damping of people", "A person with so many ratings gets half of their own deviation."),
}
"""Label and meaning of the settings that a form shows first; the others have the names and words of the code."""
SEQUENCE = ("preset", "epochs", "batch_size", "lr", "dim", "dropout", "patience")
MAIN = {
    "linear-map": ("ridge", "max_users"),
    "user-knn": ("neighbours", "max_users"),
    "item-knn": ("memory", "damping", "prior"),
    "popular-lately": ("sides", "days", "moments"),
    "content": ("encoder", "most_reviews", "components"),
    "biases": ("item_damping", "user_damping"),
    "emcdr": ("mapping", "factors", "epochs", "lr"),
    "ptupcdr": ("factors", "epochs", "batch_size", "lr"),
    "collective-factors": ("factors", "ridge", "damping", "taken"),
    "source-sasrec": SEQUENCE,
    "target-sasrec": SEQUENCE,
    "transfer-sasrec": (*SEQUENCE, "fusion"),
    "autoencoder": ("encoder", "epochs", "batch_size", "lr", "hidden", "dropout", "networks"),
    "unified": ("encoder", "epochs", "batch_size", "lr", "dim", "taste", "dropout"),
    "known-ensemble": ("encoder", "epochs", "batch_size", "lr", "dim", "taste", "dropout"),
    "ensemble": ("encoder", "epochs", "lr", "hidden", "networks", "ridge", "neighbours"),
    "policy-finetune": ("epochs", "lr", "temperature", "epsilon", "kl", "cap", "held_out"),
    "racrec": ("mode", "encoder", "most_reviews", "epochs", "batch_size", "lr", "taste_dim"),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "loss": ("auto", "ce", "sampled", "gbce", "bce"),
    "norm": ("pre", "post"),
    "activation": ("gelu", "relu"),
    "bridge": tuple(BRIDGES),
    "fusion": tuple(FUSIONS),
    "block": tuple(BLOCKS),
    "memory": ("auto", *MEMORY),
    "moments": ("auto", *MOMENTS),
    "sides": SIDES,
    "trend": ("none", *SIDES),
    "source_pool": tuple(POOLS),
    "mapping": ("linear", "mlp"),
    "selection": ("mean", "coattention"),
    "weights": WEIGHTS,
    "log": (),  # those of the dataset
    # Those that come with the program: any other may have to be downloaded first, which a command does.
    "encoder": ("minilm", "static"),
}
WIDTHS = (
    "dim",
    "taste_dim",
    "hidden",
    "meta_hidden",
    "bridge_hidden",
    "factors",
    "taste",
    "blocks",
    "heads",
    "components",
)
MOST_WIDTH = 4_096
MOST = 1_000_000
"""Larger whole numbers are slips of a finger, and would take the machine's memory."""
NONE = "none"


@cache
def meanings(config: type) -> dict[str, str]:
    """What the docstring below each field of a config says."""
    found = {}
    for base in reversed(config.__mro__):
        if is_dataclass(base):
            (about,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(about, ast.ClassDef)
            for field, words in pairwise(about.body):
                if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr):
                    found[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(words.value)).split())
    return found


def preset_key(config: type) -> str | None:
    """The field that sets others, if the config has presets."""
    return getattr(config, "PRESET_KEY", "preset") if hasattr(config, "PRESETS") else None


def key(recipe: Recipe, name: str) -> str:
    """Of the widget of a setting."""
    return f"trn_{recipe.name}_{name}"


def usual(recipe: Recipe, preset: str | None = None) -> Any:
    """The config that a form begins with."""
    named = preset_key(recipe.config)
    return from_dict(recipe.config, {named: preset} if named and preset else {})


def fields_of(recipe: Recipe) -> dict[str, Any]:
    """{name: type} of the settings, the type of one that may be none without that."""
    return {field.name: type(getattr(usual(recipe), field.name)) for field in fields(recipe.config)}


def ask(recipe: Recipe, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Draws a field for each setting, the usual ones first; returns those that differ from the preset.

    Args:
        given: settings that were asked for elsewhere, which get no field.

    Raises:
        CrossrecError: a number is out of all bounds.
    """
    given = given or {}
    kinds, main = [name for name in fields_of(recipe) if name not in given], MAIN.get(recipe.name, ())
    if not kinds:
        st.caption("This recipe has no settings.")
        return {}
    named = preset_key(recipe.config)
    base = usual(recipe, st.session_state.get(key(recipe, named)) if named else None)
    found = dict(given)
    with st.grid(4, min_column_width=150):
        for name in main:
            found[name] = _field(recipe, name, base)
    rest = [name for name in kinds if name not in main]
    if rest:
        more = st.expander(f"All settings: {len(rest)} more", icon=":material/tune:", key="trn_rest", on_change="rerun")
        if more.open:
            with more:
                st.caption("Their meaning is behind the question marks. What is not touched stays as it was tuned.")
                with st.grid(4, min_column_width=150):
                    for name in rest:
                        found[name] = _field(recipe, name, base)
        else:  # what is not shown is not drawn, but counts
            for name in rest:
                found[name] = _read(name, st.session_state.get(key(recipe, name), getattr(base, name)))
    for name, value in found.items():
        _bounded(name, value)
    return changed(recipe, found)


def changed(recipe: Recipe, values: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from those of the preset, and the preset itself where it is not the usual one."""
    named = preset_key(recipe.config)
    bases = {name: usual(recipe) if name == named else usual(recipe, values.get(named or "")) for name in values}
    return {
        name: NONE if value is None else value for name, value in values.items() if value != getattr(bases[name], name)
    }


def fill(recipe: Recipe, settings: dict[str, Any]) -> None:
    """Puts the settings of an earlier run into the form."""
    for name in fields_of(recipe):
        if name in settings:
            value = settings[name]
            st.session_state[key(recipe, name)] = 0 if value is None else value


def _field(recipe: Recipe, name: str, base: Any) -> Any:
    """The widget of one setting, and its value."""
    usual_value, named = getattr(base, name), preset_key(recipe.config)
    label, words = LABELS.get(name, (capital(name.replace("_", " ")), meanings(recipe.config).get(name, "")))
    about: dict[str, Any] = {"key": key(recipe, name), "persist_state": "session"}
    about["help"] = f"{words} On the command line: `--set {name}=…`."
    if name == named:
        return st.selectbox(label, list(recipe.config.PRESETS), on_change=_forget, args=(recipe,), **about)  # type: ignore[attr-defined]
    if isinstance(usual_value, bool):
        return st.selectbox(
            label, [True, False], index=0 if usual_value else 1, format_func={True: "yes", False: "no"}.get, **about
        )
    if isinstance(usual_value, str):
        options = list(CHOICES[name])
        kept = st.session_state.get(about["key"], usual_value)
        options += [kept] if kept not in options else []  # of a run that is repeated
        return st.selectbox(label, options, index=options.index(usual_value), **about)
    if isinstance(usual_value, float):
        return float(st.number_input(label, value=usual_value, step=_step(usual_value), format="%g", **about))
    return _read(name, st.number_input(label, value=usual_value or 0, step=1, **about))


def _read(name: str, value: Any) -> Any:
    """What the widget of a setting stands for."""
    return None if name == "components" and value == 0 else value


def _forget(recipe: Recipe) -> None:
    """After a change of preset every other field takes the preset's value."""
    named = preset_key(recipe.config)
    for name in fields_of(recipe):
        if name != named:
            st.session_state.pop(key(recipe, name), None)


def _step(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value)) if value > 0 else 0.1


def _bounded(name: str, value: Any) -> None:
    most = MOST_WIDTH if name in WIDTHS else MOST
    if isinstance(value, int) and value > most:
        raise CrossrecError(f"{name} ({value:,}) must be at most {most:,}.")


def both(names: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that another recipe has too."""
    return {name: value for name, value in settings.items() if name in names}
