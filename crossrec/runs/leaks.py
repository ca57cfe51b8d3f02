"""What a leak does: a review model that reads its answers, beside the same one that does not."""

import shlex
from dataclasses import dataclass
from typing import Any

from crossrec.data.folder import load_meta
from crossrec.evaluation import ratings
from crossrec.evaluation.statistics import Interval
from crossrec.runs.coldstart import is_leaky
from crossrec.runs.compare import RatingRow, stored_rows
from crossrec.runs.folder import Run, matching

SWITCH = "leaky_item_vectors"


@dataclass(frozen=True)
class Leak:
    """A run that reads its answers, and the run of the same settings, seed and split that does not."""

    leaky: RatingRow
    honest: RatingRow | None
    """None where it has not been trained."""
    gap: Interval | None
    """Paired over users: what the leak adds to the pooled AUC."""
    command: str
    """What trains the honest one."""

    @property
    def sentence(self) -> str:
        """What the leak does, in words."""
        auc = self.leaky.values["auc"]
        told = f"an AUC of {auc.mean:.4f}" if auc else "no AUC, for it predicts no stars"
        before = self.honest.values["auc"] if self.honest else None
        if auc is None or before is None or self.gap is None:
            return f"With the leak the review model has {told}; the same settings without it have not been tested."
        by = f"{self.gap.mean:+.4f}, 95 % interval {self.gap.low:+.4f} to {self.gap.high:+.4f}"
        if self.gap.positive:
            return f"The leak alone lifts AUC from {before.mean:.4f} to {auc.mean:.4f} ({by}): none of that is skill."
        return f"The leak is not shown to lift AUC here: {before.mean:.4f} without it, {auc.mean:.4f} with it ({by})."


def leaks(dataset: str, split: str, seed: int = 0) -> list[Leak]:
    """Every finished run on a split that reads its answers, where the data has stars; those with their like first."""
    wanted = {"dataset_hash": load_meta(dataset)["hash"], "split": {"kind": split, "seed": seed}}
    runs = matching(dataset, "racrec", **wanted)
    found = [leak for run in runs if is_leaky(run) and (leak := _leak(run, runs))]
    return sorted(found, key=lambda leak: leak.honest is None)


def leak_commands(dataset: str, split: str, seed: int = 0) -> list[str]:
    """The two commands that show the leak: the first system's settings without it, and with it."""
    words = ["crossrec", "train", "racrec", "--dataset", dataset, "--split", split, *_seed(seed)]
    words += ["--set", "mode=classic"]
    return [shlex.join(words), shlex.join([*words, "--leaky-item-vectors"])]


def _leak(leaky: Run, runs: list[Run]) -> Leak | None:
    about = leaky.config()
    row = _row(leaky, "With the leak")
    if row is None:
        return None
    honest = next((run for run in runs if not is_leaky(run) and _alike(run.config(), about)), None)
    return Leak(
        leaky=row,
        honest=_row(honest, "Without it") if honest else None,
        gap=_gap(leaky, honest) if honest else None,
        command=_without_switch(about["command"]),
    )


def _alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two runs differ in nothing but the leak."""
    settings = [{key: value for key, value in one["settings"].items() if key != SWITCH} for one in (a, b)]
    return settings[0] == settings[1] and a["seed"] == b["seed"]


def _without_switch(command: str) -> str:
    """The recorded command of a run, less the setting that leaks."""
    words = shlex.split(command)
    leaking = [at for at, word in enumerate(words) if word.startswith(f"{SWITCH}=")]
    return shlex.join(word for at, word in enumerate(words) if at not in leaking and at + 1 not in leaking)


def _row(run: Run, title: str) -> RatingRow | None:
    return next(iter(stored_rows(run.metrics().get("ratings"), run.name, title)), None)


def _gap(leaky: Run, honest: Run) -> Interval | None:
    """The leak's gain in pooled AUC: differences are to the column of the reference, so the honest run takes it."""
    with_leak, without = leaky.ratings(), honest.ratings()
    if with_leak is None or without is None or not with_leak["event"].equals(without["event"]):
        return None
    found = ratings.summary(with_leak.assign(**{ratings.REFERENCE: without["predicted"]}))
    value = found["differences"]["recommender"]["auc"]
    return Interval(**value) if value and None not in value.values() else None


def _seed(seed: int) -> list[str]:
    return ["--seed", str(seed)] if seed else []
