"""What the command line shows in a terminal: progress while it works, tables when it is done."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_PLAIN = {"highlight": False, "markup": False, "emoji": False}  # titles may hold brackets and colons
console = Console(**_PLAIN)  # type: ignore[arg-type]
if not console.is_terminal:
    console = Console(**_PLAIN, width=2_000)  # type: ignore[arg-type]  # nothing is folded in a file or a pipe
"""Results, on stdout."""
_progress_console = Console(stderr=True, **_PLAIN)  # type: ignore[arg-type]


class Reporter:
    """Turns events of an import, a download or a training into lines and bars on stderr."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=_progress_console,
            disable=quiet or not _progress_console.is_terminal,
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_{event['event']}", None)
        if handler is not None and not self.quiet:
            handler(event)

    def line(self, text: str) -> None:
        _progress_console.print(text)

    def bar(self, key: str, done: float, total: float, note: str = "") -> None:
        if key not in self.tasks:
            self.tasks[key] = self.progress.add_task(key, total=total, note=note)
        self.progress.update(self.tasks[key], completed=done, total=total, note=note)

    def _read(self, event: dict[str, Any]) -> None:
        self.line(f"reading {event['file']}")

    def _step(self, event: dict[str, Any]) -> None:
        if "epoch" in event:
            done = event["epoch"] - 1 + event["step"] / event["steps"]
            self.bar(self.run, done, self.epochs, f"epoch {event['epoch']}, loss {event['loss']:.3f}")
        elif event["dropped"]:
            self.line(f"  {event['step']} ({event['domain']}): {event['dropped']:,} dropped, {event['events']:,} left")

    def _judging(self, event: dict[str, Any]) -> None:
        self.bar(event["run"], event["step"], event["steps"], "people of the log")

    def _download(self, event: dict[str, Any]) -> None:
        total = event["total"] or event["done"] or 1
        self.bar(event["file"], event["done"], total, f"{event['done'] / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    def _encode(self, event: dict[str, Any]) -> None:
        if event["total"]:
            left = "" if event["eta"] is None else f", {event['eta']:.0f} s left"
            speed = event["done"] / max(event["seconds"], 1e-9)
            note = f"{event['done']:,} of {event['total']:,} texts, {speed:,.0f} a second{left}"
            self.bar("encoding", event["done"], event["total"], note)

    def _play(self, event: dict[str, Any]) -> None:
        self.bar("playing", event["step"], event["steps"], f"person {event['step']} of {event['steps']}")

    def _demo(self, event: dict[str, Any]) -> None:
        self.line(f"[{event['step']}/{event['steps']}] {event['doing']}")

    def _start(self, event: dict[str, Any]) -> None:
        self.run, self.epochs = event["run"], 1
        self.line(f"training {event['run']}")

    def _epoch(self, event: dict[str, Any]) -> None:
        self.epochs = event["epochs"]
        valid = event["valid"][event["monitor"]]
        star = " *" if event["best"] == event["epoch"] else ""
        loss = event["losses"]["loss"]
        self.bar(self.run, event["epoch"], event["epochs"], f"loss {loss:.3f}, {event['eta']:.0f} s left at most")
        self.line(
            f"  epoch {event['epoch']:>3}  loss {loss:.4f}  validation {event['monitor']} {valid:.4f}"
            f"  {event['seconds']:.0f} s{star}"
        )

    def _resume(self, event: dict[str, Any]) -> None:
        self.line(f"  goes on in epoch {event['epoch']}, after {event['step']} of its steps")

    def _note(self, event: dict[str, Any]) -> None:
        self.line(event["text"])

    def _trial(self, event: dict[str, Any]) -> None:
        self._test(event)
        told = ", ".join(f"{key}={value}" for key, value in event["settings"].items())
        self.line(f"[{event['number'] + 1}/{event['trials']}] {told}")

    def _tried(self, event: dict[str, Any]) -> None:
        trial, best = event["trial"], event["best"]
        star = " *" if trial is best else ""
        self.line(f"  {trial.error}" if trial.score is None else f"  validation {abs(trial.score):.4f}{star}")

    def _test(self, event: dict[str, Any]) -> None:
        for task in self.tasks.values():
            self.progress.remove_task(task)
        self.tasks.clear()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Prints a plain table; numbers to the right."""
    grid = Table(*header, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*row)
    for column in grid.columns:
        column.overflow = "fold"
        cells = [str(cell) for cell in column.cells]
        if cells and all(cell[:1] in "+-0123456789" for cell in cells if cell):
            column.justify = "right"
    console.print(grid)


def percent_done(status: dict[str, Any]) -> tuple[str, str]:
    """The state of a task, and how far it is in words."""
    state = status["state"]
    if state == "failed":
        return state, status.get("error") or ""
    if state not in ("running", "stopping", "stopped") or "epoch" not in status:
        return state, status.get("doing") or ""
    at = f"epoch {status['epoch']} of at most {status['epochs']}"
    if state == "stopped":
        return state, at
    doing = status.get("doing")
    return state, f"{at}, {status['eta']:.0f} s left at most" if doing == "training" else f"{at}, {doing}"


def bars(steps: Sequence[tuple[str, str, int, int]]) -> None:
    """Prints the steps of an import that dropped something."""
    rows = [(step, domain, f"{dropped:,}", f"{left:,}") for step, domain, left, dropped in steps if dropped]
    if rows:
        table(("step", "domain", "dropped", "left"), rows)


def show_validation(run: str, valid: dict[str, float]) -> None:
    """Prints what is known of a run that leaves the test part alone."""
    told = ", ".join(f"{name} {value:.4f}" for name, value in valid.items())
    console.print(f"{run} on the validation people: {told}. The test part was left alone.")


def show_answer(answer: Any) -> None:
    """Prints a `recommender.Answer`, and what became of the reviews and items that were told."""
    rated = any(item.stars is not None for item in answer.items)
    rows = [
        (
            str(item.rank),
            item.item_id,
            item.title or "",
            item.creator or "",
            f"{item.people:,}",
            *([f"{item.stars:.1f}"] if rated else []),
            item.fit,
        )
        for item in answer.items
    ]
    known = f"{answer.n_source} source and {answer.n_target} target events"
    if answer.n_reviews:
        known += f", {answer.n_reviews} review{'s' if answer.n_reviews > 1 else ''}"
    header = ("", "item", "title", "by", "people", *(["stars"] if rated else []), "fit")
    table(header, rows, title=f"From {answer.run}; it rests on {answer.basis} ({known})")
    for one in answer.evidence:
        if one.note and one.kind != "event":
            console.print(f"{_told(one)}: {one.note}.")
    for note in answer.notes:
        console.print(note)


def show_explanation(explanation: Any) -> None:
    """Prints a `recommend.explain.Explanation`: the five pieces of evidence that speak most for the item."""
    name = f"\n{explanation.rank}. {explanation.title or explanation.item_id}"
    rows = [
        (f"{one.share:+.0%}", _told(one.evidence), f"{one.rank_without:,}") for one in explanation.contributions[:5]
    ]
    if rows:
        table(("share", "because of", "rank without"), rows, title=name)
    else:
        console.print(f"{name}: nothing that is known of the person was used.")


def _told(evidence: Any) -> str:
    """A piece of evidence in a few words."""
    name = evidence.title or evidence.item_id
    if evidence.kind != "review":
        return str(name)
    text = evidence.text if len(evidence.text) <= 60 else f"{evidence.text[:59]}…"
    return f"“{text}”" + (f" ({name})" if name else "")
