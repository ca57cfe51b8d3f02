"""The loop in words and charts: what a session came to, how the policy moved, and one update taken apart."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from crossrec.errors import CrossrecError
from crossrec.feedback.demo import RlDemo
from crossrec.feedback.policy import PolicyConfig, Step
from crossrec.feedback.session import SKIP, Session, Turn
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.report import theme
from crossrec.report.charts import TALL, Drawn
from crossrec.report.words import percent
from crossrec.runs.disk import disk_errors

LATELY = 5
"""Slates over which a curve is averaged."""
OTHERS = 5
"""Items beside the slate whose probability moved most."""
BAR = 26
"""Height in px of a row of bars."""
AXIS = 74
"""Height in px of the horizontal axis with its title."""
Name = Callable[[int], str]
"""Item number -> what it is called."""


def share(probability: float) -> str:
    """A probability in words; small ones keep two digits that count."""
    if probability >= 0.0995:
        return percent(probability)
    return f"{100 * probability:.2g}\N{NO-BREAK SPACE}%" if probability >= 5e-4 else "less than 0.05\N{NO-BREAK SPACE}%"


def clicks(people: SimulatedUsers, user: int, item: int) -> float:
    """Probability that a simulated person clicks on an item that they look at, fresh."""
    return float(1 / (1 + np.exp(-people.log_odds[user, item])))


# --- a session -------------------------------------------------------------------------------------------------------


def sentence(session: Session) -> str:
    """What the session came to, in one sentence."""
    turns = session.turns
    if not turns:
        return (
            "Pick what you like in the slate, or skip it: the policy learns from every press, and draws the next one."
        )
    slates = f"{len(turns)} slate{'s' if len(turns) > 1 else ''}"
    liked = sorted({int(at) for turn in turns for at, action in _acts(turn) if session.rewards[action] > session.skip})
    if not liked:
        return f"After {slates} without a click there is nothing that the policy could do better; it goes on drawing."
    first, now = (float(one[liked].sum()) for one in (session.start_probabilities, session.policy.probabilities))
    what = "the item that was clicked has" if len(liked) == 1 else f"the {len(liked)} items that were clicked have"
    return f"After {slates}, {what} {share(now)} of the policy's probability; it began with {share(first)}."


def details(session: Session) -> list[str]:
    """What must be said with it: whether slates became better by true taste, and that one session is one person's."""
    turns = session.turns
    if len(turns) < 2 * LATELY or turns[0].expected is None:
        return []
    first, last = (float(np.mean([t.expected for t in some])) for some in (turns[:LATELY], turns[-LATELY:]))
    best = float(np.mean([t.best for t in turns[-LATELY:]]))
    return [
        f"By this person's true taste the first {LATELY} slates were worth {first:.3f} each and the last {LATELY} "
        f"{last:.3f}; the best possible ones {best:.3f}. One session is one person's luck: `crossrec rl-demo` plays "
        "many, with intervals."
    ]


def _acts(turn: Turn) -> list[tuple[int, str]]:
    return [(int(at), action) for at, action in zip(turn.step.slate.at, turn.actions, strict=True) if action != SKIP]


def moves(step: Step, actions: Sequence[str], name: Name, items: Sequence[int]) -> pd.DataFrame:
    """How an update moved the policy: the slate's items, and the others that moved most.

    Args:
        step: the update.
        actions: (K,) to the slate's items.
        name: what an item is called.
        items: (N,) numbers of the candidates.

    Returns:
        item, kind ("clicked", "shown", "not shown"), before, now, change; the slate first, in order.
    """
    change = step.new_probabilities - step.probabilities
    shown = [int(at) for at in step.slate.at]
    rest = [int(at) for at in np.argsort(-np.abs(change), kind="stable") if at not in shown][:OTHERS]
    kinds = ["shown" if action == SKIP else "clicked" for action in actions] + ["not shown"] * len(rest)
    at = [*shown, *rest]
    return pd.DataFrame(
        {
            "item": _unlike([name(int(items[one])) for one in at]),
            "kind": kinds,
            "before": step.probabilities[at],
            "now": step.new_probabilities[at],
            "change": change[at],
        }
    )


def _unlike(names: list[str]) -> list[str]:
    """Names of which no two are the same, for an axis."""
    return [f"{one} ({names[:i].count(one) + 1})" if names[:i].count(one) else one for i, one in enumerate(names)]


def move_sentence(frame: pd.DataFrame) -> str:
    """What the last press did, in one sentence."""
    size = frame["change"].abs().to_numpy()
    # Where two items share all there is, one rises as the other falls: the one that was shown comes first.
    most = frame.iloc[int((size >= size.max() * (1 - 1e-9)).argmax())].to_dict()
    if abs(most["change"]) < 5e-5:
        return "The last press moved nothing: it brought what was expected"
    verb = "rose" if most["change"] > 0 else "fell"
    return f"{most['item']} {verb} most, from {share(most['before'])} to {share(most['now'])}"


def bars(frame: pd.DataFrame, recipe: str) -> Drawn:
    """Probabilities now as bars, before as ticks; `frame` as of `moves`."""
    order = list(frame["item"])
    colour = theme.recipe_colour(recipe)
    scale = alt.Scale(domain=["clicked", "shown", "not shown"], range=[colour, colour, theme.MUTED])
    y = alt.Y("item:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False))
    axis = alt.Axis(format=".0%" if frame[["now", "before"]].to_numpy().max() > 0.05 else ".1%", tickCount=4)
    tooltip = [
        alt.Tooltip("item:N", title="Item"),
        alt.Tooltip("kind:N", title="In the last slate"),
        alt.Tooltip("before:Q", title="Before", format=".3%"),
        alt.Tooltip("now:Q", title="Now", format=".3%"),
    ]
    base = alt.Chart(frame)
    bar = base.mark_bar(height=12, cornerRadiusEnd=2).encode(
        y=y,
        x=alt.X("now:Q", title="Probability of being drawn first", axis=axis),
        color=alt.Color("kind:N", scale=scale, legend=None),
        opacity=alt.condition(alt.datum.kind == "shown", alt.value(0.45), alt.value(0.95)),
        tooltip=tooltip,
    )
    before = base.mark_tick(thickness=2.5, size=20, color=theme.MUTED).encode(y=y, x="before:Q", tooltip=tooltip)
    return alt.layer(bar, before).properties(height=BAR * len(frame) + AXIS)


def history(turns: Sequence[Turn]) -> pd.DataFrame:
    """Along a session: slate (from 1), reward, mean (of the last `LATELY`), regret (NaN where nobody knows it)."""
    frame = pd.DataFrame(
        {
            "slate": np.arange(1, len(turns) + 1),
            "reward": [turn.reward for turn in turns],
            "regret": [np.nan if turn.regret is None else turn.regret for turn in turns],
        }
    )
    frame["mean"] = frame["reward"].rolling(LATELY, min_periods=1).mean()
    frame["mean_regret"] = frame["regret"].rolling(LATELY, min_periods=1).mean()
    return frame


def history_sentence(frame: pd.DataFrame) -> str:
    """Reward so far, in one sentence."""
    rewards = frame["reward"]
    if len(frame) < 2 * LATELY:
        return f"{rewards.sum():.1f} of reward in {len(frame)} slate{'s' if len(frame) > 1 else ''}"
    first, last = rewards[:LATELY].mean(), rewards[-LATELY:].mean()
    return f"Reward a slate: {first:.2f} in the first {LATELY}, {last:.2f} in the last {LATELY}"


def curves(frame: pd.DataFrame, recipe: str) -> Drawn:
    """Reward a slate and, where taste is known, regret; the lines are means of the last slates."""
    known = bool(frame["regret"].notna().any())
    lines = {"reward": ("reward", "mean"), **({"regret": ("regret", "mean_regret")} if known else {})}
    long = pd.concat(
        [
            pd.DataFrame({"slate": frame["slate"], "what": what, "value": frame[one], "mean": frame[mean]})
            for what, (one, mean) in lines.items()
        ]
    )
    colours = alt.Scale(domain=["reward", "regret"], range=[theme.recipe_colour(recipe), theme.UNIFIED])
    legend = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolOpacity=1) if known else None
    x = alt.X("slate:Q", title="Slate", axis=alt.Axis(tickMinStep=1, format="d", tickCount=8))
    base = alt.Chart(long).encode(
        x=x,
        color=alt.Color("what:N", scale=colours, legend=legend),
        tooltip=[
            alt.Tooltip("slate:Q", title="Slate"),
            alt.Tooltip("what:N", title=" "),
            alt.Tooltip("value:Q", title="Of this slate", format=".3f"),
            alt.Tooltip("mean:Q", title=f"Mean of the last {LATELY}", format=".3f"),
        ],
    )
    dots = base.mark_point(filled=True, size=28, opacity=0.45).encode(y=alt.Y("value:Q", title="A slate"))
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=["reward", "regret"], range=[[1, 0], [5, 3]]), legend=None)
    line = base.mark_line(strokeWidth=2.4).encode(y="mean:Q", strokeDash=dash)
    return alt.layer(dots, line).properties(height=BAR * 10 + AXIS)


POLICIES = {
    "learned": (theme.TRANSFER, [1, 0]),
    "frozen": (theme.BASELINE, [1, 0]),
    "greedy": (theme.MUTED, [6, 3]),
    "popularity": (theme.SIMPLE, [2, 2]),
    "random": (theme.LIGHTER, [1, 3]),
    "oracle": (theme.ORACLE, [6, 3]),
}
"""Colour and dashes of the policies of a demo."""
BANDS = ("learned", "frozen")
"""Policies whose intervals are drawn."""


def demo_curves(found: RlDemo) -> Drawn:
    """Reward a slate along the play, of every policy; with 95 % intervals over people for the two that are compared."""
    frame = pd.DataFrame(
        [
            {"policy": name, "slate": (at + 1) * found.block, "mean": one.mean, "low": one.low, "high": one.high}
            for name, curve in found.curves.items()
            for at, one in enumerate(curve)
        ]
    )
    names = [name for name in POLICIES if name in found.curves]
    colour = alt.Color(
        "policy:N",
        scale=alt.Scale(domain=names, range=[POLICIES[name][0] for name in names]),
        legend=alt.Legend(title=None, orient="bottom", columns=6, symbolType="stroke", symbolOpacity=1),
    )
    dash = alt.StrokeDash(
        "policy:N", scale=alt.Scale(domain=names, range=[POLICIES[name][1] for name in names]), legend=None
    )
    base = alt.Chart(frame).encode(x=alt.X("slate:Q", title="Slates played", axis=alt.Axis(tickCount=6)), color=colour)
    band = base.transform_filter(alt.FieldOneOfPredicate("policy", list(BANDS))).mark_area(opacity=0.18)
    line = base.mark_line(strokeWidth=2.2).encode(y="mean:Q", strokeDash=dash)
    bands = band.encode(y=alt.Y("low:Q", title="Reward a slate"), y2="high:Q")
    return alt.layer(bands, line).properties(width=640, height=TALL)


def check_chart(path: Path) -> None:
    """Raises CrossrecError where no chart of that name can be."""
    if path.suffix not in (".svg", ".png"):
        raise CrossrecError(f"{path.name} cannot be drawn: its name ends in neither .svg nor .png.")
    if not path.parent.is_dir():
        raise CrossrecError(f"{path} cannot be written: there is no folder {path.parent}.")


def write_curves(found: RlDemo, path: Path) -> None:
    """Writes `demo_curves` as SVG or PNG, after the suffix; the file is whole or not there.

    Raises:
        CrossrecError: the suffix is another one, or the file cannot be written.
    """
    check_chart(path)
    spec = demo_curves(found).configure(background="white").to_dict()
    if path.suffix == ".svg":
        drawn = vl_convert.vegalite_to_svg(spec).encode()
    else:
        drawn = vl_convert.vegalite_to_png(spec, scale=2)
    with disk_errors(path.parent), tempfile.TemporaryDirectory(dir=path.parent, prefix=".chart-") as folder:
        whole = Path(folder) / path.name
        whole.write_bytes(drawn)
        whole.replace(path)


# --- one update taken apart ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One step of the arithmetic."""

    title: str
    words: str
    """What it is for."""
    formula: str
    """LaTeX."""
    numbers: str
    """LaTeX: the formula with the numbers of the item that is followed."""


def apart(step: Step, config: PolicyConfig, state: dict[str, object], score: float, position: int) -> list[Part]:
    """An update, part by part, for one item of its slate.

    Args:
        step: the update.
        config: it was made with.
        state: of the policy before it.
        score: of the item, as the policy has it (z-score).
        position: of the item in the slate, from 0.
    """
    at = int(step.slate.at[position])  # noqa: PD008
    n, k = len(step.logits), len(step.slate.at)
    logit, m, reward = step.logits[at], step.probabilities[at], step.rewards[position]
    learned = logit - score / config.temperature
    odds = np.exp(step.logits - step.logits.max())
    p = odds[at] / odds.sum()
    propensity = step.slate.propensities[position]
    left = m / propensity
    old, new = float(state["baseline"][position]), step.baseline[position]  # type: ignore[index]
    advantage = step.advantages[position]
    policy_loss = step.loss + config.entropy * step.entropy - config.kl * step.kl
    other = "" if k == 1 else rf" + \ldots\;({k}\text{{ items}})"
    gradient, after = step.gradient[at], step.new_logits[at]
    return [
        Part(
            "Score to logit",
            "The recommender's score, divided by the temperature, and what the head has learned so far.",
            r"\ell_a = s_a/\tau + x_a^\top w",
            rf"{_n(score)}/{_n(config.temperature)} {_s(learned)} = {_n(logit)}",
        ),
        Part(
            "Logit to probability",
            f"The softmax over {n} candidates, mixed with a floor, so that everything may be shown.",
            r"m_a = (1-\varepsilon)\,\frac{e^{\ell_a}}{\sum_b e^{\ell_b}} + \frac{\varepsilon}{N}",
            rf"(1-{_n(config.epsilon)})\cdot{_n(p)} + {_n(config.epsilon)}/{n} = {_n(m)}",
        ),
        Part(
            "The draw",
            "What stands higher is gone: the item's share of what is left. This propensity goes to the log.",
            r"\pi_t(a) = m_a \Big/ \Big(1 - \sum_{j<t} m_{a_j}\Big)",
            rf"{_n(m)} / {_n(left)} = {_n(propensity)}",
        ),
        Part("Reward", "What the reaction is worth, by the table of rewards.", r"R_t", _n(reward)),
        Part(
            "Baseline",
            "What was expected here: a moving average of the rewards at this position.",
            r"b_t \leftarrow \mu\,b_t + (1-\mu)\,R_t",
            rf"{_n(config.momentum)}\cdot{_n(old)} + {_n(1 - config.momentum)}\cdot{_n(reward)} = {_n(new)}",
        ),
        Part(
            "Advantage",
            "Better or worse than expected: its sign says whether the item becomes more or less probable.",
            r"A_t = R_t - b_t",
            rf"{_n(reward)} {_s(-new)} = {_n(advantage)}",
        ),
        Part(
            "Loss",
            "REINFORCE over the slate, a bonus for staying open (entropy H), a price for leaving the start (KL).",
            _lines(r"L = -\textstyle\sum_t A_t \ln \pi_t(a_t)", r"- \alpha H(m) + \beta\,\mathrm{KL}(m \,\|\, m_0)"),
            _lines(
                rf"{_n(-advantage * np.log(propensity))}{other} = {_n(policy_loss)}",
                rf"{_n(policy_loss)} - {_n(config.entropy)}\cdot{_n(step.entropy)} + {_n(config.kl)}\cdot{_n(step.kl)}",
                rf"= {_n(step.loss)}",
            ),
        ),
        Part(
            "Gradient of the logit",
            "With v the loss's derivative by m, in closed form. A negative one lifts the logit.",
            r"\frac{\partial L}{\partial \ell_a} = (1-\varepsilon)\,p_a\,\big(v_a - \textstyle\sum_b p_b v_b\big)",
            _n(gradient),
        ),
        Part(
            "New logit",
            "Gradient descent moves the head's weights, and with them every item that is like this one.",
            _lines(
                r"w \leftarrow w - \eta \textstyle\sum_b \frac{\partial L}{\partial \ell_b}\,x_b",
                r"\ell_a = s_a/\tau + x_a^\top w",
            ),
            rf"{_n(logit)} {_s(after - logit)} = {_n(after)}",
        ),
        Part(
            "New probability",
            "What the next slate is drawn from.",
            r"m_a \;\rightarrow\; m_a'",
            rf"{_n(m)} \;\rightarrow\; {_n(step.new_probabilities[at])}",
        ),
    ]


def _lines(*lines: str) -> str:
    """Several lines of LaTeX below each other."""
    return r"\begin{gathered}" + r" \\ ".join(lines) + r"\end{gathered}"


def _n(value: float) -> str:
    """A number in LaTeX, with what is needed to follow it."""
    value = float(value) + 0.0
    if value and abs(value) < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        return rf"{digits}\cdot 10^{{{int(power)}}}"
    return f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def _s(value: float) -> str:
    """A number with its sign, to be added."""
    return rf"- {_n(-value)}" if value < 0 else rf"+ {_n(value)}"


def slate_table(step: Step, actions: Sequence[str], name: Name, items: Sequence[int]) -> pd.DataFrame:
    """The whole slate's numbers, a row a position."""
    at = step.slate.at
    return pd.DataFrame(
        {
            "Position": np.arange(1, len(at) + 1),
            "Item": [name(int(items[one])) for one in at],
            "Action": list(actions),
            "Logit": step.logits[at],
            "Probability": step.probabilities[at],
            "Propensity": step.slate.propensities,
            "Reward": step.rewards,
            "Baseline": step.baseline,
            "Advantage": step.advantages,
            "Gradient": step.gradient[at],
            "New logit": step.new_logits[at],
            "New probability": step.new_probabilities[at],
        }
    )
