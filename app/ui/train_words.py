"""Words for times, sizes and states of trainings."""

from typing import Any

from app.ui.errors import capital


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{seconds:.0f} second{'s' if round(seconds) != 1 else ''}"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86_400:.0f} days"


def short(seconds: float) -> str:
    """The same for a table or a number: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if seconds < 1:
        return "under 1 s"
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 3600:
        return f"{whole / 60:.0f} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} days {whole % 86_400 // 3600} h"


def memory(mb: float) -> str:
    return f"{mb / 1024:.1f} GB" if mb >= 1000 else f"{mb:,.0f} MB"


def done(status: dict[str, Any]) -> float:
    """How much of a training is done, 0 to 1; early stopping may end it sooner."""
    if status["state"] == "finished":
        return 1.0
    if "epochs" not in status:
        return 0.0
    epoch, steps = status["epoch"], status.get("steps") or 1
    return min(1.0, max(0.0, (epoch - 1 + min(1.0, status.get("step", steps) / steps)) / status["epochs"]))


def where(status: dict[str, Any]) -> str:
    """Which epoch a training is in, or what else it is doing."""
    doing = status.get("doing")
    if doing not in (None, "training") or "epoch" not in status:
        return doing or "getting ready"
    return f"in epoch {status['epoch']} of at most {status['epochs']}"


def left(status: dict[str, Any]) -> str:
    """How long it may still take, to be put behind `where`; empty where that is not known."""
    eta = status.get("eta")
    training = status["state"] == "running" and status.get("doing") == "training"
    return f", at most {span(eta)} left" if training and eta else ""


def state(status: dict[str, Any], place: int | None = None, untested: bool = False) -> str:
    """A row's state in few words: where it stands in the queue, in its training, or how it ended."""
    kind = status["state"]
    if kind == "queued":
        return "Waits" if place is None else "Waits, next" if place == 1 else f"Waits, number {place}"
    if kind == "running":
        if status.get("doing") == "training" and "epoch" in status:
            return f"Epoch {status['epoch']} of {status['epochs']}"
        return capital(where(status))
    if kind == "stopping":
        return "Is stopping"
    return "Not tested" if untested and kind == "finished" else capital(kind)


def now(working: list[tuple[str, dict[str, Any]]], waiting: int, finished: int, dataset: str) -> str:
    """The page's answer: what is in training, how far it is, and what waits.

    Args:
        working: name and status of what is in training.
        waiting: how many wait.
        finished: how many are finished on the dataset.
        dataset: its name.
    """
    if not working and waiting:
        many = "One training waits" if waiting == 1 else f"{waiting} trainings wait"
        return f"{many} for a place; the first starts in a moment."
    if not working:
        many = (
            f"{finished or 'no'} training{'' if finished == 1 else 's'} on {dataset} {'is' if finished == 1 else 'are'}"
        )
        return f"Nothing is in training; {many} finished."
    name, status = working[0]
    said = f"{name} is stopping" if status["state"] == "stopping" else f"{name} is {where(status)}{left(status)}"
    others = len(working) - 1
    said += f"; {others} other{'s are' if others > 1 else ' is'} in training too" if others else ""
    return f"{said}; {waiting} more wait{'s' if waiting == 1 else ''}." if waiting else f"{said}."
