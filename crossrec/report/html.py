"""A comparison as one HTML file that stands alone: nothing is loaded, and nobody is named in it."""

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from crossrec import __version__
from crossrec.data.folder import load_meta
from crossrec.data.pair import DomainPair
from crossrec.data.split import read_leak_report
from crossrec.errors import CrossrecError
from crossrec.report import figures, findings, frames, tables
from crossrec.report.figures import Figure
from crossrec.report.tables import Table
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import ORACLE, Result
from crossrec.runs.disk import disk_errors
from crossrec.runs.folder import Run, open_run

WIDTH = 440
"""Width in px of a chart's plot."""
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f24; background: #fff; margin: 0 auto; max-width: 76rem;
       padding: 2rem 1.2rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { margin: 2.6rem 0 .6rem; font-size: 1.4rem; }
.answer { border-left: .4rem solid #0072B2; background: #f2f6fa; padding: .8rem 1.1rem; font-size: 1.1rem; }
.harm { border-left: .4rem solid #D55E00; background: #fdf3ec; padding: .6rem 1.1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.6rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .4rem; } svg { max-width: 100%; height: auto; }
.note, footer { color: #5a6069; font-size: .9rem; } .wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; } caption { text-align: left; font-weight: 600; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #dfe3e8; vertical-align: top;
         min-width: 4.5rem; }
pre { background: #f4f5f7; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .88rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the browser is told: this page loads nothing and runs nothing."""


def write_html(result: Result | ColdResult, path: Path) -> None:
    """Writes the report of a comparison: to a temporary file that is then renamed.

    Raises:
        CrossrecError: it cannot be written there.
    """
    check_place(path)
    text = page(result)
    with disk_errors(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def check_place(path: Path) -> None:
    """Raises CrossrecError where no file of that name can be."""
    if not path.parent.is_dir():
        raise CrossrecError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.is_dir():
        raise CrossrecError(f"{path} is a folder: give the name of a file, such as {path / 'report.html'}.")


def page(result: Result | ColdResult) -> str:
    """The report as a document."""
    runs = [open_run(side.run) for side in result.sides if side.run != ORACLE]
    config = runs[0].config()
    kind, seed = config["split"]["kind"], config["split"]["seed"]
    labels = frames.domains(result.dataset)
    asked = "asked for their next item" if kind == "next-item" else f"strangers of the split {kind}, seed {seed}"
    people = f"{len(result.sides[0].table):,} people, {asked}"
    about = f"{result.dataset}: {labels[0]} and {labels[1]}. {people}."
    title = "Did transfer help, and whom?"
    body = "".join(
        [
            f"<h1>{title}</h1>\n<p>{escape(about)}</p>\n",
            _verdict(result),
            *(_section(heading, *blocks) for heading, *blocks in _sections(result, runs, labels)),
        ]
    )
    made = f"Made by crossrec {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(f'{title} {result.dataset}')}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}"
        f"<footer><p>{escape(made)}</p></footer>\n</body>\n</html>\n"
    )


def _verdict(result: Result | ColdResult) -> str:
    if isinstance(result, ColdResult):
        answer, (headline, *details) = result.answer, result.sentences
    else:
        answer, headline, details = result.verdict.answer, result.verdict.headline, result.verdict.details
    return (
        f'<div class="answer">{"▲ " if answer == "harm" else ""}{escape(headline)}</div>\n{_points(details)}'
        f"{_alarm(result)}"
    )


def _alarm(result: Result | ColdResult) -> str:
    if result.insight is None:
        return ""
    sentences = findings.harm_sentences(result.insight, *frames.domains(result.dataset))
    if not sentences:
        return ""
    return f'<div class="harm"><strong>▲ Some people are harmed.</strong>{_points(sentences)}</div>\n'


def _sections(result: Result | ColdResult, runs: Sequence[Run], labels: tuple[str, str]) -> Iterable[tuple[str, ...]]:
    """(heading, blocks of HTML); a section without blocks is left out."""
    titles = {side.run: side.title for side in result.sides}
    if isinstance(result, ColdResult):
        yield "How good is each recommender?", _figures(figures.rankings(result)), _table(tables.means(result))
        yield "Who tells how many stars they will give?", _figures(figures.stars(result))
    else:
        yield "Is there a difference?", _figures(figures.differences(result)), _table(tables.groups(result))
    found = result.insight
    if found is not None:
        yield "The tests", _table(tables.tests(result))
        yield "Who benefits?", _figures(figures.benefit(result)), *map(_table, tables.benefit(result))
        says = [findings.control_sentence(row, titles[found.baseline], labels[0]) for row in found.controls]
        asked = _figures([figures.control(result)])
        if found.missing:
            asked += f"<p>{escape(', '.join(found.missing))}: the controls were not asked.</p>\n"
        yield "Is it transfer?", asked, _points(says), _table(tables.controls(result))
        yield "How much is it worth?", _figures([figures.shots(result)]), _table(tables.shots(result))
        yield "How far do people move?", _figures([figures.moves(result)])
    if isinstance(result, Result):
        means = _table(tables.means(result))
        yield "How good is each recommender?", _figures(figures.protocols(result)), _p(figures.WARNING), means
    if found is not None:
        yield "Beyond accuracy", _table(tables.lists(result)), _p(LISTS)
    yield "How it learned", _figures(figures.learned(runs, titles))
    if found is not None and found.seeds is not None:
        yield "Other trainings", _figures([figures.seeds(result)]), _table(tables.seeds(result))
    yield "How far is it to the best possible?", _figures([figures.way(result)])
    config = runs[0].config()
    yield "Leak report", _leaks(result.dataset, f"{config['split']['kind']}-{config['split']['seed']}")
    yield "How to repeat it", _repeat(runs)
    yield "Versions and dates", _table(_versions(runs)), _p(f"Data: {_data(result.dataset)}")


LISTS = (
    "Coverage: the share of the catalogue that is in anybody's first ten. Novelty: how rare what is shown is, in bits; "
    "one more bit is half as popular. Diversity: how unlike the items of one list are, by their texts; 0 is alike."
)


def _leaks(dataset: str, split: str) -> str:
    report = read_leak_report(DomainPair.open(dataset).folder, split)
    if report is None:
        return ""
    rows = [
        [
            one["name"],
            "cannot be checked" if one["found"] is None else f"{one['found']:,}",
            f"{one['checked']:,}",
            one["meaning"],
        ]
        for one in report["checks"]
    ]
    found = f"{report['leaks']:,} leaks were found." if report["leaks"] else "No leak was found."
    header = ["Check", "Found", "Among", "What is counted"]
    return _p(found) + _table(Table("Every check of the split", header, rows)) + "".join(map(_p, report["notes"]))


def _repeat(runs: Sequence[Run]) -> str:
    configs = [run.config() for run in runs]
    names = list(dict.fromkeys(key for config in configs for key in config["settings"]))
    rows = [[name, *(_setting(config["settings"].get(name)) for config in configs)] for name in names]
    commands = [
        config["command"] or f"crossrec train {config['recipe']} --dataset {config['dataset']} --seed {config['seed']}"
        for config in configs
    ]
    commands.append(f"crossrec compare {' '.join(run.name for run in runs)}")
    settings = Table("Settings of each run", ["", *(run.name for run in runs)], rows)
    return f"<pre>{escape(chr(10).join(commands))}</pre>\n{_table(settings)}"


def _versions(runs: Sequence[Run]) -> Table:
    configs = [run.config() for run in runs]
    names = list(dict.fromkeys(key for config in configs for key in config.get("versions") or {}))
    rows = [["Made", *(str(config.get("created", ""))[:19].replace("T", " ") for config in configs)]]
    rows += [["Seed", *(str(config["seed"]) for config in configs)]]
    rows += [["Commit", *(str(config.get("git_commit") or "")[:12] for config in configs)]]
    rows += [[name, *(str((config.get("versions") or {}).get(name, "")) for config in configs)] for name in names]
    return Table("Of each run", ["", *(run.name for run in runs)], rows)


def _data(dataset: str) -> str:
    meta = load_meta(dataset)
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in meta["counts"].items())
    return f"{dataset}, {counts}; its fingerprint is {meta['hash'][:16]}."


# --- pieces ----------------------------------------------------------------------------------------------------------


def _section(heading: str, *blocks: str) -> str:
    inside = "".join(blocks)
    return f"<section>\n<h2>{escape(heading)}</h2>\n{inside}</section>\n" if inside else ""


def _p(words: str) -> str:
    return f'<p class="note">{escape(words)}</p>\n'


def _points(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>\n" if sentences else ""


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>"
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n'


def _figures(found: Iterable[Figure | None]) -> str:
    drawn = []
    for one in found:
        if one is not None:
            picture = svg(one.chart(), re.sub(r"\W", "-", one.key))
            words, note = escape(one.finding), _p(one.note) if one.note else ""
            inside = f'<div role="img" aria-label="{words}">{picture}</div>\n{note}'
            drawn.append(f"<figure>\n<figcaption>{words}</figcaption>\n{inside}</figure>\n")
    return f'<div class="figures">\n{"".join(drawn)}</div>\n' if drawn else ""


def svg(chart: Any, prefix: str) -> str:
    """A chart as SVG. Its ids get a prefix: several charts in one document would clip each other by the same ones."""
    spec = chart.properties(width=WIDTH).configure_view(stroke=None).to_dict()
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    drawn = vl_convert.vegalite_to_svg(spec, vl_version=version)
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawn)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", drawn)


def _setting(value: Any) -> str:
    return "" if value is None else str(value)
