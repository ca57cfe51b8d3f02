"""Logs of simulated people: what a policy that shows slates to the people of a demo world would have written down."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.logged import StoredLog, save_log
from crossrec.data.pair import DomainPair
from crossrec.feedback.simulator import Build, SimulatedUsers

CLICKS = ("taste", "random")


def simulated_log(
    name: str,
    pair: DomainPair,
    people: SimulatedUsers,
    build: Build,
    users: Sequence[int] | NDArray[np.int64],
    slates: int,
    seed: int = 0,
    policy: str = "softmax",
    clicks: str = "taste",
    replace: bool = False,
) -> StoredLog:
    """Plays a policy that does not learn with each of the users once, and keeps the log.

    Args:
        name: of the log.
        pair: the demo dataset.
        people: its simulated people.
        build: the policy for a person.
        users: rows of the user table; each is one session.
        slates: of each session.
        seed: of everything that is drawn.
        policy: its name in the log.
        clicks: "taste", or "random" for reactions that say nothing of taste: those of the play, dealt out anew among
            all shown items.
        replace: an earlier log of the name.
    """
    shown: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    for user in users:
        rng = np.random.default_rng([seed, int(user)])
        chosen = build(int(user), rng)
        played = people.run(chosen, int(user), slates, rng)
        for items, propensities, clicked in zip(played.items, played.propensities, played.clicked, strict=True):
            for place, (item, propensity, click) in enumerate(zip(items, propensities, clicked, strict=True)):
                shown.append(
                    {"slate": len(made), "position": place, "item": item, "propensity": propensity, "click": click}
                )
            made.append(
                {"session": f"simulated-{user}", "user": int(user), "policy": policy, "candidates": chosen.items}
            )
    events = pd.DataFrame(shown)
    if clicks == "random":
        events["click"] = np.random.default_rng(seed).permutation(events["click"].to_numpy())
    events["action"] = np.where(events["click"], "click", "skip")
    events["reward"] = events["action"].map({key: people.rewards[key] for key in ("click", "skip")})
    events["time"] = None
    origin = f"simulated: {len(users):,} people, {slates:,} slates each, clicks by {clicks}"
    meta = {"origin": origin, "rewards": people.rewards.values, "left_out": {}}
    return save_log(name, pair, pd.DataFrame(made), events, meta, replace)
