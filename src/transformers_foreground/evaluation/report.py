"""The report of an evaluation: one HTML file with everything in it and no script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.evaluation import charts
from transformers_foreground.evaluation.charts import Axis, Strip, curve_charts, style_of
from transformers_foreground.evaluation.contact_sheets import Sheets
from transformers_foreground.evaluation.extras import need
from transformers_foreground.evaluation.shards import Finished, job_folder, read_finished
from transformers_foreground.evaluation.summary import Comparison, Score, Summary
from transformers_foreground.evaluation.tables import (
    HEADINGS,
    STATISTICS,
    VERSIONS,
    about_rows,
    aggregate_of,
    best_value,
    by_dataset,
    comparison_row,
    pairs,
    selection_rows,
)

NAME: Final = "report.html"
_COLUMNS: Final = ("key", "error", "empty_truth", "seconds", "doubt", "precision", "recall", "iou")
_FAILURES: Final = 50  # most that are listed


def write_report(output: str | Path, *, sheets: Sheets | None = None) -> Path:
    """Write report.html for a finished run, from its summary and rows; no model or image is read.

    `evaluate(..., report=True)` adds contact sheets, for which it makes some masks again.

    Args:
        output: Folder of the run.
        sheets: Name of data set to its contact sheets.

    Returns:
        The file: HTML that contains its styles, charts and images, loads nothing and has no script.

    Raises:
        UnsupportedOptionError: The run is not finished, or its files cannot be read.
    """
    output = Path(output)
    summary = Summary.read(output)
    done = {
        (score.model, score.dataset): read_finished(job_folder(output, score.model, score.dataset), _COLUMNS)
        for score in summary.scores
    }
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    folder = files(__package__)
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    css = need("markupsafe").Markup(folder.joinpath("report.css").read_text(encoding="utf-8"))
    page = template.render(css=css, **_contents(summary, done, sheets or {}))
    write_whole(output / NAME, page.encode())
    return output / NAME


_Done = Mapping[tuple[str, str], Finished]


def _contents(summary: Summary, done: _Done, sheets: Sheets) -> dict[str, Any]:
    """Return the template's variables."""
    datasets = by_dataset(summary)
    first = next(iter(datasets.values()))
    images = _counted(sum(scores[0].images for scores in datasets.values()), "image")
    return {
        "summary": summary,
        "lead": f"{_counted(len(first), 'model')} on {_counted(len(datasets), 'data set')}, {images}.",
        "facts": _facts(summary, done),
        "models": [_model(i, score.model, done[score.model, score.dataset].job) for i, score in enumerate(first)],
        "sections": [
            _section(
                summary, scores, [(score.model, done[score.model, name]) for score in scores], sheets.get(name, ())
            )
            for name, scores in datasets.items()
        ],
        "statistics": STATISTICS.format(**summary.about),
        "headings": HEADINGS,
        "edges": {"left": charts.LEFT, "top": charts.TOP, "right": charts.RIGHT, "bottom": charts.BOTTOM},
    }


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _facts(summary: Summary, done: _Done) -> list[tuple[str, str]]:
    """Return when, on which machines and with which versions rows were measured, and when the report was made."""
    machines: dict[str, None] = {}
    times = []
    for finished in done.values():
        for entry in finished.measured:
            times.append(datetime.fromisoformat(entry["time"]))
            cores = _counted(int(entry["cores"]), "core")
            machines[f"{entry['processor']}, {cores}, {entry['system']}, Python {entry['python']}"] = None
    facts = {
        "Measured": " to ".join(dict.fromkeys([_time(min(times)), _time(max(times))])) if times else "",
        "On": "; ".join(machines),
        "With": VERSIONS.format(**summary.about).rstrip("."),
        "Report": _time(datetime.now(UTC)),
    }
    return [(name, fact) for name, fact in facts.items() if fact]


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _model(number: int, label: str, job: Mapping[str, Any]) -> dict[str, str]:
    options = [f"{key}={value}" for key, value in job["model"]["options"].items() if key != "dtype"]
    return {
        "style": style_of(number),
        "label": label,
        "id": job["model"]["id"],
        "dtype": job["dtype"],
        "options": ", ".join(options) or "–",
        "sha256": job["sha256"][0][:12],
    }


def _section(
    summary: Summary, scores: Sequence[Score], finished: Sequence[tuple[str, Finished]], sheets: Sequence[Any]
) -> dict[str, Any]:
    """Return the template's variables for one data set."""
    name = scores[0].dataset
    seconds = [(label, rows.rows["seconds"][rows.rows["seconds"] > 0]) for label, rows in finished]  # leaves out NaN
    known = [times for _, times in seconds if len(times)]
    axis = Axis.over(np.concatenate(known)) if known else None
    failures = [
        (key, label, error)
        for label, rows in finished
        for key, error in zip(rows.rows["key"], rows.rows["error"], strict=True)
        if error is not None
    ]
    return {
        "name": name,
        "note": " ".join(filter(None, [summary.notes.get(name), about_rows(scores)])),
        "labels": [score.model for score in scores],
        "figures": [_figures(scores, measure) for measure in scores[0].measures],
        "pairs": [_pair(first, second, found) for (first, second), found in pairs(summary, name).items()],
        "charts": curve_charts(name, [(label, rows.rows) for label, rows in finished]),
        "selection": selection_rows(scores),
        "sheets": sheets,
        "axis": axis,
        "strips": [Strip.of(label, times, axis, i) for i, (label, times) in enumerate(seconds) if axis and len(times)],
        "failed": _counted(len(failures), "row"),
        "failures": failures[:_FAILURES],
        "more": max(0, len(failures) - _FAILURES),
    }


def _figures(scores: Sequence[Score], name: str) -> dict[str, Any]:
    aggregate = aggregate_of(name)
    figures = [score.measures[name] for score in scores]
    best, digits = best_value(figures, aggregate.higher), aggregate.digits
    cells = [
        {
            "value": None if figure.value is None else repr(figure.value),
            "text": "" if figure.value is None else f"{figure.value:.{digits}f}",
            "best": figure.value == best,
            "span": f"{figure.low:.{digits}f} to {figure.high:.{digits}f}"
            if None not in (figure.low, figure.high)
            else "",
        }
        for figure in figures
    ]
    return {"title": aggregate.title, "higher": aggregate.higher, "cells": cells}


def _pair(first: str, second: str, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    rows = []
    for comparison in comparisons:
        name, *others, verdict = comparison_row(comparison)
        cells = [cell.strip("[]").replace(", ", " to ").replace("-", "−") for cell in others]
        rows.append((name, cells, verdict, comparison.real))
    return {"first": first, "second": second, "verdict": _verdict(comparisons), "rows": rows}


def _verdict(comparisons: Sequence[Comparison]) -> str:
    better = Counter(comparison.better for comparison in comparisons if comparison.better is not None)
    measures = _counted(len(comparisons), "measure")
    if all(comparison.too_few for comparison in comparisons):
        return f"{_counted(comparisons[0].images, 'image')} are too few for a verdict."
    if not better:
        return f"no real difference by any of {measures}."
    parts = [f"{model} is better by {count}" for model, count in better.items()]
    return f"of {measures}, {', '.join([*parts, f'no real difference by {len(comparisons) - better.total()}'])}."
