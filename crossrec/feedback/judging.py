"""What a run would have earned as a policy, judged from a log.

A run becomes a policy as on the feedback page: a softmax over its scores, which are first given mean 0 and deviation 1
over what the person does not have, mixed with the uniform distribution (see `policy.SoftmaxPolicy`). Each row is judged
in its place: pi_e is the probability of its item among the logged candidates, given what stood above it.

A place is not a slate: above it stood what the log's policy had drawn. A policy that wants the same item in every place
is credited with it in each, and can show it once in a slate of its own. How much of its probability that is, is counted
("twice"), and beyond a tenth nothing is ranked. In the demo, with people whom no slate changes for the next, the value
in place exceeds that of a roll-out by at most 3 % where this share is below 1 %, by 5 to 7 % at 1 to 6 %, and by 18 to
28 % at 24 to 37 %. Weights multiplied along the slate would be exact, and leave a tenth of the effective sample.

N rows, I items, F folds, P positions, C candidates, K rows of a slate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.logged import StoredLog
from crossrec.data.pair import DOMAINS
from crossrec.errors import CrossrecError
from crossrec.feedback.ope import CLIP, Judgement, Logged, Target, judge
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, z_scores
from crossrec.models.recommender import Floats, hide_seen
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import Run
from crossrec.text.dataset import with_vectors
from crossrec.training.loop import OnEvent

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

FOLDS = 5
SHRINK = 100.0
"""Rows of mean reward that every item is given beside its own. Clicks are rare: on simulated logs of 4 to 40 thousand
rows 100 to 200 foretell other sessions best, and with 20 or fewer a model of the position alone does better."""
PEOPLE = 256
"""Users that are scored at once."""
ILLUSTRATION = (
    "An illustration and no evidence: propensities were assumed, as if each item had been drawn uniformly from the "
    "candidates that were left. Nothing in the log supports that."
)
ASSUMED = "propensities are missing, and that each item was drawn uniformly is only assumed"
MAX_TWICE, TOLD_TWICE = 0.1, 0.005
"""Share of a policy's probability that is counted in more than one place of a slate: the most for a ranking, and what
is told."""


@dataclass(frozen=True)
class Judged:
    """A judgement, and what it rests on."""

    judgement: Judgement
    notes: tuple[str, ...]
    """Sentences: what was assumed, and what was left out."""
    rows: int
    """Rows of the log that count,"""
    total: int
    """of so many."""
    assumed: bool
    """Whether propensities were made up: an illustration, no evidence."""

    def plain(self) -> dict[str, Any]:
        """For a JSON file."""
        own = {"notes": list(self.notes), "rows": self.rows, "total": self.total, "assumed": self.assumed}
        return self.judgement.plain() | own


def judge_run(
    log: StoredLog,
    run: Run | RunRecommender,
    against: Run | RunRecommender | None = None,
    config: PolicyConfig | None = None,
    clip: float = CLIP,
    seed: int = 0,
    assume_uniform: bool = False,
    on_event: OnEvent = lambda event: None,
) -> Judged:
    """Judges a run as a policy by a log, beside another run or the policy that made the log.

    Args:
        log: made ready for the dataset of the run.
        run: a finished run of the target domain.
        against: another one; None is the policy that made the log.
        config: temperature and epsilon of both runs' policies.
        clip: the largest weight of clipped IPS.
        seed: of the folds and the resampling.
        assume_uniform: takes unknown propensities for one over the candidates that were left. The policies are not
            ranked then, for nothing supports it.
        on_event: gets {"event": "judging", "run", "step", "steps"} as users are scored.

    Raises:
        CrossrecError: the log is of other data, a run recommends source items or is not finished, or no row can be
            judged.
    """
    opened = [one if isinstance(one, RunRecommender) else RunRecommender(one) for one in (run, against) if one]
    for one in opened:
        if one.which != "target":
            raise CrossrecError(f"Run {one.name!r} recommends items of the source domain; take one of the target's.")
        log.check(one.pair)
    config = replace(config or PolicyConfig(), k=1, lr=0.0)
    rows, notes = _exact(log)
    model = RewardModel.fit(rows, opened[0].recommender.n_items, seed)
    found = [_target(one, log, rows, model, config, on_event) for one in opened]
    twice = {target.name: share for target, _, share in found}
    propensities = rows["propensity"].to_numpy(float)
    unknown = np.isnan(propensities)
    assumed = assume_uniform and bool(unknown.any())
    if assumed:
        propensities = np.where(unknown, 1 / found[0][1], propensities)
    logged = Logged(rows["reward"].to_numpy(float), propensities, pd.factorize(rows["session"])[0])
    targets = [target for target, _, _ in found]
    other = targets[1] if against else None
    doubts = [ASSUMED] if assumed else []
    doubts += [
        f"{share:.0%} of the probability of {name!r} is on items that it would show in several places of one slate, "
        f"more than {MAX_TWICE:.0%}"
        for name, share in twice.items()
        if share > MAX_TWICE
    ]
    judgement = judge(logged, targets[0], other, clip, seed, doubts=doubts)
    told = f"{len(rows):,} of {len(log.events):,} rows count, in {rows['slate'].nunique():,} slates."
    names = " and ".join(repr(one.name) for one in opened)
    how = (
        f"{names} as a policy: a softmax over scores of deviation 1, temperature {config.temperature:g}, with "
        f"{config.epsilon:.0%} of the uniform distribution, in each place given what stood above in the log: "
        "what other items there would have changed is not counted."
    )
    repeated = [
        f"{share:.1%} of the probability of {name!r} is on items that it would show in several places of one slate: "
        "with slates of its own it would earn less than is told here."
        for name, share in twice.items()
        if share > TOLD_TWICE
    ]
    first = [ILLUSTRATION] if assumed else []
    told_all = (*first, told, *notes, how, *repeated, *_people(log, rows))
    return Judged(judgement, told_all, len(rows), len(log.events), assumed)


def _exact(log: StoredLog) -> tuple[pd.DataFrame, list[str]]:
    """The events whose place is known, with session, user and rank in their slate; and what was left out."""
    rows = log.events.join(log.slates[["session", "user"]], on="slate").reset_index(drop=True)
    rank, size = rows.groupby("slate").cumcount(), rows.groupby("slate")["item"].transform("size")
    alone = (size == 1) & (rows["position"] < 0)
    known = alone | (rows["position"] == rank)
    # A gap: what stood there is not known, so that below it no probability is.
    nowhere = ~known & (rows["position"] < 0)
    notes = [
        f"{int(count):,} rows are left out, for {why}."
        for count, why in (
            (nowhere.sum(), "their slate does not tell the order of its items"),
            ((~known & ~nowhere).sum(), "the log does not hold all that stood above them"),
        )
        if count
    ]
    if not known.any():
        raise CrossrecError(
            f"No row of the log {log.name!r} can be judged: {' '.join(notes)} Give positions from 0 and the slate of "
            "each row, and import it again."
        )
    rows["rank"] = rank
    return rows[known].reset_index(drop=True), notes


def _people(log: StoredLog, rows: pd.DataFrame) -> Iterator[str]:
    """Notes on whom and what the runs were asked."""
    slates = log.slates.loc[rows["slate"].unique()]
    if free := int(sum(one is None for one in slates["candidates"])):
        yield (
            f"{free:,} of {len(slates):,} slates do not tell their candidates: all items that the person does not have "
            "are taken."
        )
    strangers, sessions = slates.loc[slates["user"] < 0, "session"].nunique(), slates["session"].nunique()
    if strangers:
        yield (
            f"{strangers:,} of {sessions:,} sessions are of people whom the dataset does not have: a run scores them "
            "as somebody of whom nothing is known, much like popularity."
        )
    if strangers < sessions:
        yield (
            "A run looks at all that the dataset tells of a person. Where that includes what they did after the log "
            "was written, the run knows more than it could have known."
        )


# --- the run as a policy ---------------------------------------------------------------------------------------------


def _target(
    opened: RunRecommender,
    log: StoredLog,
    rows: pd.DataFrame,
    model: "RewardModel",
    config: PolicyConfig,
    on_event: OnEvent,
) -> tuple[Target, Doubles, float]:
    """The run at the rows of the log; (N,) how many candidates were left in each place; and its share of "twice"."""
    pi, v, left, twice = np.zeros(len(rows)), np.zeros(len(rows)), np.ones(len(rows)), 0.0
    items, folds, factors = rows["item"].to_numpy(), model.fold, model.factors
    sets = log.slates["candidates"]
    owners = rows["user"].to_numpy()
    users = np.unique(owners)
    order = np.argsort(owners, kind="stable")
    places = dict(zip(users.tolist(), np.split(order, np.flatnonzero(np.diff(owners[order])) + 1), strict=True))
    for start in range(0, len(users), PEOPLE):
        batch = users[start : start + PEOPLE]
        for user, scores in zip(batch.tolist(), scores_of(opened, batch), strict=True):
            even, made = z_scores(scores), dict[bytes, _Chooser]()
            mine = places[user]
            slates = rows["slate"].to_numpy()[mine]
            for at in np.split(mine, np.flatnonzero(np.diff(slates)) + 1):
                chosen = sets[rows["slate"].to_numpy()[at[0]]]
                key = b"" if chosen is None else chosen.tobytes()
                if key not in made:
                    made[key] = _Chooser(even, chosen, config)
                pi[at], value, left[at], again = made[key].look(items[at], model.rates[folds[at[0]]])
                twice += again
                v[at] = value * factors[folds[at], model.place[at]]
        on_event({"event": "judging", "run": opened.name, "step": min(start + PEOPLE, len(users)), "steps": len(users)})
    return Target(opened.name, pi, model.q(items), v), left, twice / len(rows)


class _Chooser:
    """A policy over one set of candidates, at slates that another one drew."""

    def __init__(self, scores: Doubles, candidates: Ints | None, config: PolicyConfig):
        """scores: (I+1,), -inf for what the person has, which the policy never shows."""
        among = np.arange(1, len(scores)) if candidates is None else candidates
        self.items = among[np.isfinite(scores[among])]
        """(C,)"""
        self.m = SoftmaxPolicy(self.items, scores, None, config).probabilities if len(self.items) else np.zeros(0)
        self.at = np.full(len(scores), -1)
        self.at[self.items] = np.arange(len(self.items))

    def look(self, shown: Ints, rates: Doubles) -> tuple[Doubles, Doubles, Doubles, float]:
        """(K,) probability of each shown item given those above it; expected rate; number of candidates left; and how
        many places the policy gives to items that it has given one already.

        Args:
            shown: (K,) items of a slate from its top.
            rates: (I+1,) reward of each item, before the factor of its position.
        """
        at = self.at[shown]
        known = at >= 0
        above: Ints = np.cumsum(known) - known  # (K,) how many of those above the policy could have shown
        at = at[known]
        left = _left(self.m, at)[above]
        value = _left(self.m * rates[self.items], at)[above]
        chosen = np.zeros(len(shown))
        chosen[known] = self.m[at]
        some = left > 0
        ones = np.ones(len(shown))
        pi, v, share = (np.divide(one, left, out=np.zeros(len(shown)), where=some) for one in (chosen, value, ones))
        share = share.cumsum()  # of a candidate that is still there: its m times this is its places so far
        places = self.m * share[-1]
        places[at] = self.m[at] * share[known]
        return pi, v, np.maximum(len(self.items) - above, 1), float(np.maximum(places - 1, 0).sum())


def _left(values: Doubles, at: Ints) -> Doubles:
    """(K+1,) sum of the values (C,) without the first 0, 1, ..., K of `at`; not a difference, which would cancel."""
    rest = values.copy()
    rest[at] = 0
    return np.asarray(rest.sum() + np.append(values[at][::-1].cumsum()[::-1], 0.0))


def scores_of(opened: RunRecommender, users: Ints) -> Floats:
    """(B, I+1) scores for rows of the user table, -inf for what they have; -1 is somebody of whom nothing is known.

    As `RunRecommender.scores` for each of them, at once.
    """
    pair, recommender = opened.pair, opened.recommender
    out = np.empty((len(users), recommender.n_items + 1), np.float32)
    known = users >= 0
    if not known.all():
        out[~known] = opened.scores(opened.asked(Person()), [[]])[0]
    if known.any():
        who = users[known]
        if recommender.encoder is not None:
            asked = np.isin(np.arange(pair.n_users), who)
            wanted = {which: np.repeat(asked, pair.domain(which).counts) for which in DOMAINS}
            pair = replace(with_vectors(pair, recommender.encoder, wanted), most_reviews=recommender.most_reviews)
        histories = pair.histories(who, pair.source.counts[who], pair.target.counts[who])
        out[known] = hide_seen(recommender.score(histories), histories)
    return out


# --- the reward model ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RewardModel:
    """q(item, position) = rate of the item x factor of the position; for each fold fitted on sessions of the others.

    The factor is how much oftener people react to a position at all than to the average row; the rate is the item's
    reward per row of factor 1, shrunk to the mean. It knows nothing of the person, which DR makes up for.
    """

    fold: Ints
    """(N,) of each row."""
    place: Ints
    """(N,) position of each row, from 0."""
    rates: Doubles
    """(F, I+1)"""
    factors: Doubles
    """(F, P)"""

    @classmethod
    def fit(cls, rows: pd.DataFrame, n_items: int, seed: int) -> "RewardModel":
        """rows: session, item, rank, reward."""
        sessions = pd.factorize(rows["session"])[0]
        lots = np.random.default_rng([seed, 2]).permutation(sessions.max() + 1)
        fold = (lots % FOLDS)[sessions]
        place, items, reward = (rows[name].to_numpy() for name in ("rank", "item", "reward"))
        moved = (reward != 0).astype(float)
        rates, factors = np.zeros((FOLDS, n_items + 1)), np.ones((FOLDS, int(place.max()) + 1))
        for one in range(FOLDS):
            own = fold != one
            if not own.any():
                continue
            mean = moved[own].mean()
            counts, reacted = (np.bincount(place[own], w, factors.shape[1]) for w in (None, moved[own]))
            if mean > 0:
                factors[one] = (reacted + SHRINK * mean) / (counts + SHRINK) / mean
            weight = factors[one][place[own]]
            base = reward[own].sum() / weight.sum()
            got, shown = (np.bincount(items[own], w, n_items + 1) for w in (reward[own], weight))
            rates[one] = (got + SHRINK * base) / (shown + SHRINK)
        return cls(fold, place, rates, factors)

    def q(self, items: Ints) -> Doubles:
        """(N,) of the rows' own items, by a model that did not see their session."""
        return np.asarray(self.rates[self.fold, items] * self.factors[self.fold, self.place])
