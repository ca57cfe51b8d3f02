"""The learn page's parts: each a diagram, what a slider changes, the tensors of one person, a formula and its file."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app.ui import cards, models, play_step, proof, state, strangers
from app.ui.errors import capital, percent, plain
from crossrec.evaluation.protocol import SAMPLED
from crossrec.recommend import anatomy
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import Asked
from crossrec.report import anatomy_charts as drawn
from crossrec.runs.catalog import shortened
from crossrec.runs.compare import matching_runs
from crossrec.runs.folder import Run, open_run

PAGES = Path(__file__).resolve().parents[2] / "pages"
SHOWN = 6
"""Items of each list of what moves."""
MOST = 50
"""Most events that a slider counts."""


# --- what is asked ---------------------------------------------------------------------------------------------------


def newest(runs: Sequence[Run], *recipes: str) -> Run | None:
    """The newest run of the first of these recipes that there is one of."""
    for recipe in recipes:
        found = [run for run in runs if run.config()["recipe"] == recipe]
        if found:
            return found[0]
    return None


def _asked(name: str, user: str) -> Asked:
    return _asked_of(name, models.version(name), user)


@st.cache_resource(max_entries=64, show_spinner="Reading the person")
def _asked_of(name: str, version: int, user: str) -> Asked:
    return models.opened(name).asked(Person(user))


def counts(name: str, user: str) -> dict[str, int]:
    """How many events of each domain a run knows of a user."""
    pieces = _asked(name, user).pieces
    return {which: sum(one.shown.which == which for one in pieces) for which in ("source", "target")}


Kept = tuple[tuple[str, int], ...]


@st.cache_data(max_entries=256, show_spinner=False)
def _attention(name: str, version: int, user: str, kept: Kept) -> anatomy.Attention | None:
    opened, asked = models.opened(name), _asked(name, user)
    return anatomy.attention(opened, asked, anatomy.pieces_of(opened, asked, dict(kept)))


@st.cache_data(max_entries=256, show_spinner=False)
def _bridging(name: str, version: int, user: str, kept: Kept) -> anatomy.Bridging | None:
    opened, asked = models.opened(name), _asked(name, user)
    return anatomy.bridging(opened, asked, anatomy.pieces_of(opened, asked, dict(kept)))


@st.cache_data(max_entries=128, show_spinner="Asking each loss")
def _tastes(name: str, version: int, user: str, kept: Kept) -> anatomy.TasteReading | None:
    opened, asked = models.opened(name), _asked(name, user)
    settings = open_run(name).config()["settings"]
    weights = {loss: float(settings.get({"class": "domains"}.get(loss, loss), 0)) for loss in anatomy.LOSSES}
    return anatomy.tastes(opened, asked, anatomy.pieces_of(opened, asked, dict(kept)), weights)


@st.cache_data(max_entries=256, show_spinner=False)
def _moves(name: str, version: int, user: str, kept: Kept) -> pd.DataFrame:
    """The first items with all that is known, and with what is kept: item, rank with all, rank now."""
    opened, asked = models.opened(name), _asked(name, user)
    both = opened.scores(asked, [asked.pieces, anatomy.pieces_of(opened, asked, dict(kept))])
    ranks = (-both).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable") + 1
    first = sorted({int(i) for row in both for i in (-row).argsort()[:SHOWN]}, key=lambda i: int(ranks[1, i]))
    names = [item.title or item.item_id for item in opened.shelf.items(first)]
    return pd.DataFrame({"item": names, "all": ranks[0, first], "now": ranks[1, first]})


def share(name: str, user: str) -> float | None:
    """How much of a person's state comes from the source, 0 to 1; None where no gate says it."""
    found = _bridging(name, models.version(name), user, ())
    return None if found is None or found.gate is None or not found.present else float(1 - found.gate.mean())


# --- pieces of a part ------------------------------------------------------------------------------------------------


def _quoted(words: str) -> str:
    """Inside a quoted label of the DOT language; what people call their domains may hold anything."""
    return words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def flow(nodes: Mapping[str, str], edges: Sequence[tuple[str, str]], marked: Sequence[str] = ()) -> None:
    """A diagram from left to right; `marked` are the boxes that this part is about."""
    dark = st.context.theme.type == "dark"
    ink, line, fill = ("#E8E8E8", "#9AA0A6", "#1F3B53") if dark else ("#31333F", "#7F7F7F", "#E3F0FA")
    boxes = [
        f'{name} [label="{_quoted(words)}", style="rounded{",filled" if name in marked else ""}", fillcolor="{fill}"];'
        for name, words in nodes.items()
    ]
    lines = [f"{one} -> {other};" for one, other in edges]
    told = {name: words.replace("\n", ", ") for name, words in nodes.items()}
    st.graphviz_chart(
        f'digraph {{ rankdir=LR; bgcolor="transparent"; nodesep=0.25; ranksep=0.3; '
        f'node [shape=box, fontname="sans-serif", fontsize=12, color="{line}", fontcolor="{ink}", margin="0.12,0.08"]; '
        f'edge [color="{line}", arrowsize=0.6]; {" ".join(boxes)} {" ".join(lines)} }}',
        width="content",
        alt="A diagram. " + "; ".join(f"{told[one]} leads to {told[other]}" for one, other in edges) + ".",
    )


def slider(label: str, most: int, key: str, what: str) -> int:
    """How many events are read, all at first."""
    if most < 1:
        st.caption(f":material/block: {plain(what)}")
        return 0
    return int(st.slider(label, 0, most, most, key=f"{key}_{most}", help="Move it: what is below is asked again."))


def changed(name: str, user: str, kept: Kept, whole: Kept) -> None:
    """What the list loses and gains by the slider."""
    frame = _moves(name, models.version(name), user, kept)
    lost = int(((frame["all"] <= SHOWN) & (frame["now"] > SHOWN)).sum())
    if kept == whole:
        said = f"The first {SHOWN} items, with all that is known. Move the slider and see which of them stay."
    else:
        said = f"{SHOWN - lost} of the first {SHOWN} items stay, {lost} make room for others."
    st.markdown(f"**{said}**")
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        alt="Items with their rank with all that is known, and with what the slider leaves",
        column_config={
            "item": st.column_config.TextColumn("Item", pinned=True),
            "all": st.column_config.NumberColumn("Rank with all", format="localized"),
            "now": st.column_config.NumberColumn("Rank now", format="localized"),
        },
    )


def source_of(formulas: Sequence[str], file: str, words: str = "") -> None:
    """The formula and the file that computes it."""
    with st.container(border=True):
        for formula in formulas:
            st.latex(formula)
        st.caption(plain(f"Computed by `{file}`. {words}"))


def none_of(title: str, command: str) -> None:
    cards.absent(title, "No run of it is finished on this data. This trains one:")
    cards.commands(command)


# --- the parts -------------------------------------------------------------------------------------------------------


def sequence(runs: Sequence[Run], dataset: str, user: str, labels: dict[str, str]) -> None:
    """SASRec: attention over a history."""
    run = newest(runs, "target-sasrec", "transfer-sasrec")
    st.markdown(
        "SASRec reads the items that a person chose, oldest first. At each place, attention decides which earlier "
        "items say most about what comes next; the last state is compared with every item of the catalogue."
    )
    if run is None:
        none_of("SASRec", f"crossrec train-target-baseline --dataset {dataset}")
        return
    settings, known = run.config()["settings"], counts(run.name, user)
    flow(
        {
            "items": f"{labels['target']} items\nT numbers",
            "vectors": f"vectors + places\n(T+1) × {settings['dim']}",
            "blocks": f"{settings['blocks']} blocks:\nattention, feed-forward",
            "state": f"last state h\n{settings['dim']}",
            "scores": "cosine with each item\n+ its popularity",
            "list": "ranked list",
        },
        [("items", "vectors"), ("vectors", "blocks"), ("blocks", "state"), ("state", "scores"), ("scores", "list")],
        ["blocks"],
    )
    most = min(known["target"], settings["max_len"])
    n = slider(f"Newest {labels['target']} events that are read", most, "lrn_seq", f"{user} has no event there.")
    kept, whole = (("target", n),), (("target", most),)
    found = _attention(run.name, models.version(run.name), user, kept)
    assert found is not None
    _attention_cards(found, labels, "lrn_seq")
    changed(run.name, user, kept, whole)
    source_of(
        [
            r"a_{tj} = \operatorname{softmax}_{j \le t}\left(\frac{q_t \cdot k_j}{\sqrt{D/H}}\right)",
            r"s_i = \frac{\cos(h_T, v_i)}{\tau} + b_i",
        ],
        "crossrec/models/sasrec.py",
        f"The run is {run.name}.",
    )


def _attention_cards(found: anatomy.Attention, labels: dict[str, str], key: str) -> None:
    blocks = len(found.weights)
    last = found.weights[-1][-1]
    left, right = st.columns([3, 2], gap="large")
    top = int(last.argmax())
    name = "the start: what is true of everybody" if not top else shortened(found.seen[top].name, 40)
    with left:
        cards.chart(
            f"The last state looks most at {name}, {percent(float(last[top]))}",
            partial(drawn.attention_bars, found, blocks - 1, labels),
            f"{key}_bars",
            f"Of block {blocks}, the last; mean over its heads. The start stands before any item: what falls on it "
            "says nothing about this person.",
        )
    with right:
        cards.chart(
            "Each state looks back only, never ahead",
            partial(drawn.attention_grid, found, blocks - 1),
            f"{key}_grid",
            "A row is the state after an item; the empty half is the future, which is hidden.",
        )


def bridge(runs: Sequence[Run], dataset: str, user: str, labels: dict[str, str]) -> None:
    """The bridge and its gate."""
    source, target = labels["source"], labels["target"]
    run = newest(runs, "transfer-sasrec")
    st.markdown(
        f"A frozen SASRec reads the {plain(source)} history; the bridge carries its vector into the {plain(target)} "
        "space, and a gate decides, dimension by dimension, how much of it is let in."
    )
    if run is None:
        none_of("The bridge", f"crossrec train-target-transfer --dataset {dataset}")
        return
    settings, known = run.config()["settings"], counts(run.name, user)
    dim = settings["dim"]
    flow(
        {
            "s": f"{source} history",
            "t": f"{target} history",
            "sv": f"source SASRec, frozen\ns: {dim}",
            "b": f"bridge ({settings['bridge']})\nb: {dim}",
            "h": f"target SASRec\nh: {dim}",
            "g": f"gate g: {dim}\nz = g h + (1 - g) b",
            "scores": "cosine with each item\n+ its popularity",
        },
        [("s", "sv"), ("sv", "b"), ("t", "h"), ("h", "g"), ("b", "g"), ("g", "scores")],
        ["b", "g"],
    )
    most = min(known["source"], MOST)
    n = slider(f"Newest {source} events that are read", most, "lrn_gate", f"{user} has no {source} event.")
    kept, whole = (("source", n),), (("source", most),)
    found = _bridging(run.name, models.version(run.name), user, kept)
    if found is None:
        cards.absent("The bridge", "This run was trained without one (bridge=none): it is the placebo of its kind.")
        return
    left, right = st.columns(2, gap="large")
    with left:
        if found.gate is not None and found.present:
            share = float(1 - found.gate.mean())
            low, high = (percent(float(end)) for end in (1 - found.gate.max(), 1 - found.gate.min()))
            said = f"{percent(share)} of the state comes from {source}, from {low} to {high} by dimension"
            cards.chart(said, partial(drawn.gates, found.gate, (source, target)), "lrn_gates")
        else:
            cards.absent("The gate", f"Without a {source} event there is nothing to let in: z is h.")
    with right:
        vectors = {f"h, from {target}": found.target}
        if found.present:
            vectors |= {f"b, from {source}": found.bridged}
            vectors |= {} if found.gate is None else {"1 - g": 1 - found.gate}
        vectors["z, fused"] = found.fused
        order = None if found.gate is None or not found.present else found.gate
        cards.chart(
            "The same vectors, a cell for each dimension",
            partial(drawn.strips, vectors, order),
            "lrn_strips",
            "Blue above 0, orange below; each row on its own scale, dimensions in the order of the chart beside it.",
        )
    changed(run.name, user, kept, whole)
    source_of(
        [
            r"b = W_2\,\mathrm{ReLU}(W_1 s)",
            r"g = \sigma(W_g[\mathrm{LN}\,h; \mathrm{LN}\,b])",
            r"z = g \odot h + (1 - g) \odot b",
        ],
        "crossrec/models/bridge.py",
        f"The run is {run.name}. Without a source event z is h: nothing is made up.",
    )


def reviews(runs: Sequence[Run], dataset: str, user: str, labels: dict[str, str]) -> None:
    """RACRec: shared and specific tastes, and the losses."""
    source, target = labels["source"], labels["target"]
    run = newest(runs, "racrec")
    st.markdown(
        "RACRec reads what people wrote. Each domain's reviews become two tastes: one shared by both domains, one "
        f"specific to it. A stranger to {plain(target)} is recommended to by the shared taste of their {plain(source)} "
        "reviews."
    )
    if run is None:
        none_of("RACRec", f"crossrec train racrec --dataset {dataset} --split cold-user-50")
        return
    settings, known = run.config()["settings"], counts(run.name, user)
    d = settings["taste_dim"]
    flow(
        {
            "rs": f"{source} reviews\nvectors of the text encoder",
            "rt": f"{target} reviews\nvectors of the text encoder",
            "sh": f"shared taste th\n{d}",
            "sp": f"specific taste sp\n{d}",
            "i": "what others wrote\nabout an item",
            "p": f"item p\n{2 * d}",
            "r": "score = [th; sp] · p\n+ popularity",
        },
        [("rs", "sh"), ("rt", "sh"), ("rt", "sp"), ("sh", "r"), ("sp", "r"), ("i", "p"), ("p", "r")],
        ["sh", "sp"],
    )
    most = min(known["source"], settings["most_reviews"])
    n = slider(f"Newest {source} reviews that are read", most, "lrn_rev", f"{user} has no {source} review.")
    alone = st.toggle(
        f"As if {target} did not know this person",
        key="lrn_stranger",
        persist_state="session",
        help=f"Leaves all {target} reviews out: what a stranger is answered by.",
    )
    whole: Kept = (("source", most),)
    kept: Kept = (("source", n), *((("target", 0),) if alone else ()))
    found = _tastes(run.name, models.version(run.name), user, kept)
    assert found is not None
    left, right = st.columns(2, gap="large")
    with left:
        if found.tastes:
            cards.chart(
                _tastes_sentence(found, labels),
                partial(drawn.strips, {_named(name, labels): vector for name, vector in found.tastes.items()}),
                "lrn_tastes",
                "A cell for each dimension; blue above 0, orange below, each row on its own scale.",
            )
            for which, probability in found.told_source.items():
                st.caption(
                    plain(
                        f"The domain classifier takes the shared taste from {labels[which]} for {source} with "
                        f"probability {probability:.2f}; at 0.50 it cannot tell, as it should be."
                    )
                )
        else:
            cards.absent("Tastes", "Nothing is read, so everybody gets the same list.")
    with right:
        if found.pulls:
            strongest = max(found.pulls, key=lambda one: one.shared)
            cards.chart(
                f"What pulls hardest at the shared taste: to {drawn.MEANINGS[strongest.loss]}",
                partial(drawn.pulls, found.pulls),
                "lrn_pulls",
                "Pull: weight × length of the gradient, of this person, by the trained weights. "
                + "; ".join(f"{drawn.PULLS[one.loss]}: {drawn.MEANINGS[one.loss]}" for one in found.pulls)
                + ".",
            )
        else:
            cards.absent("Where the losses pull", "There is nothing to pull at, or the run has mode=classic.")
    changed(run.name, user, kept, whole)
    source_of(
        [
            r"\mathcal{L} = \mathcal{L}_{pred} + w_r \mathcal{L}_{rank} + w_d \lVert S^\top P \rVert^2",
            r"+\; w_c \mathcal{L}_{domain} + w_e \mathcal{L}_{rec} + w_i \mathcal{L}_{irec}",
        ],
        "crossrec/models/racrec.py",
        f"The losses are in `crossrec/training/racrec.py`. The run is {run.name}.",
    )


def _named(name: str, labels: dict[str, str]) -> str:
    kind, which = name.split(" ")
    return f"{capital(kind)}, {labels[which]}"


def _tastes_sentence(found: anatomy.TasteReading, labels: dict[str, str]) -> str:
    both = [found.tastes.get(f"shared {which}") for which in ("source", "target")]
    if both[0] is None or both[1] is None:
        which = labels["source"] if both[0] is not None else labels["target"]
        return f"Only {which} is known: its shared taste speaks alone"
    cosine = float(both[0] @ both[1] / max(1e-12, float((both[0] @ both[0]) * (both[1] @ both[1])) ** 0.5))
    return f"The two shared tastes have a cosine of {cosine:+.2f}"


def unified(runs: Sequence[Run], dataset: str, user: str, labels: dict[str, str]) -> None:
    """One encoder over both domains."""
    run = newest(runs, "unified")
    st.markdown(
        "The unified encoder has no bridge: the events of both domains stand in one order, and one transformer reads "
        "them. Items are what their id has taught plus what is written about them."
    )
    if run is None:
        none_of("The unified encoder", f"crossrec train unified --dataset {dataset} --split cold-user-50")
        return
    settings, known = run.config()["settings"], counts(run.name, user)
    flow(
        {
            "s": f"{labels['source']} and {labels['target']} events\nin one order",
            "e": f"item vectors\nid + words: {settings['dim']}",
            "x": f"{settings['blocks']} blocks over both",
            "h": f"state h\n{settings['dim']}",
            "c": f"taste c, as a set\n{settings['taste']}",
            "r": "score of each item\n+ popularity + its rise now",
        },
        [("s", "e"), ("e", "x"), ("x", "h"), ("e", "c"), ("h", "r"), ("c", "r")],
        ["x"],
    )
    most = min(known["source"], MOST)
    n = slider(
        f"Newest {labels['source']} events that are read", most, "lrn_one", f"{user} has no {labels['source']} event."
    )
    kept, whole = (("source", n),), (("source", most),)
    found = _attention(run.name, models.version(run.name), user, kept)
    assert found is not None
    share = sum(float(w) for one, w in zip(found.seen, found.weights[-1][-1], strict=True) if one.which == "source")
    st.markdown(f"**{percent(share)} of the last state's attention is on {plain(labels['source'])}.**")
    _attention_cards(found, labels, "lrn_one")
    changed(run.name, user, kept, whole)
    source_of(
        [
            r"e_i = \mathrm{id}_i + A\,\mathrm{words}_i",
            r"s_i = \frac{\cos(h, e_i)}{\tau} + c \cdot (v_i + Q\,\mathrm{words}_i)",
            r"+\; b_i + w\,\mathrm{rise}(t, i)",
        ],
        "crossrec/models/unified.py",
        f"The run is {run.name}.",
    )


def policy(dataset: str) -> None:
    """One step of the policy."""
    st.markdown(
        "A policy shows a slate, sees what is clicked, and moves its probabilities: up for what earned more than was "
        "expected, down for what earned less. This is the smallest example, with every number of one step; on the "
        "feedback page the same is done with slates of your own."
    )
    flow(
        {
            "s": "scores of a\nfrozen recommender",
            "p": "policy: softmax\nof scores + what was learned",
            "d": "a slate is drawn",
            "r": "clicks and skips:\nrewards R",
            "a": "advantage\nR - baseline",
            "u": "one step of the\ngradient",
        },
        [("s", "p"), ("p", "d"), ("d", "r"), ("r", "a"), ("a", "u"), ("u", "p")],
        ["u"],
    )
    play_step.book()
    source_of(
        [r"\nabla \mathcal{L} = -\sum_t (R_t - b_t)\,\nabla \log \pi_t(a_t) - \eta \nabla H(\pi) + \beta \nabla KL"],
        "crossrec/feedback/policy.py",
    )
    st.page_link(
        PAGES / "feedback.py",
        label="Play slates of your own",
        icon=":material/cycle:",
        query_params={"data": dataset},
    )


def fooled(dataset: str, labels: dict[str, str], items: int, rated: bool) -> None:
    """How a comparison fools itself, and what stands against it here."""
    st.header("Sampled metrics", anchor=False)
    st.markdown(
        f"Many papers rank the hidden item among {SAMPLED} random ones instead of the whole catalogue. That is another "
        "question, with another winner: hardly any random item is one that anybody would recommend."
    )
    proof.sampled(items, open_=True)
    st.header("A leak", anchor=False)
    st.markdown(plain(strangers.WHY))
    if rated:
        st.markdown("Two trainings show it on this data, with the first system's settings: without the leak, and with.")
        cards.commands("\n".join(strangers.leak_commands(dataset, "cold-user-50", 0)))
    st.header("A placebo", anchor=False)
    st.markdown(
        "A larger model may win because it is larger, or because it was trained longer. So transfer is asked again "
        "with something taken away that should not matter if it were not transfer: somebody else's history in place of "
        "the person's own, the own one in another order, or none. The baseline has the same size and the same budget, "
        "and the demo has a second world in which nothing is shared: a method that gains there is fooling itself."
    )
    chosen = matching_runs(dataset)
    figure = proof.figures(state.result(chosen), chosen)["control"][0] if chosen else None
    if figure is None:
        cards.absent("The controls of this data", "They need a finished transfer run and its baseline.")
    else:
        cards.figure(figure)
    st.page_link(
        PAGES / "compare.py",
        label="See the whole comparison",
        icon=":material/balance:",
        query_params={"data": dataset},
    )
