"""The report of an evaluation: one HTML file with everything in it, and no script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Final

from transformers_foreground.evaluation.charts import swatch_of
from transformers_foreground.evaluation.markup import Html, counted, join, table, tag
from transformers_foreground.evaluation.rows import Finished, job_folder, read_finished
from transformers_foreground.evaluation.sections import section
from transformers_foreground.evaluation.sheets import Sheets
from transformers_foreground.evaluation.summary import Summary
from transformers_foreground.evaluation.tables import by_dataset
from transformers_foreground.output import write_whole

NAME: Final = "report.html"
_COLUMNS: Final = ("key", "error", "seconds", "precision", "recall")
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # browsers too let it load nothing

_STATISTICS: Final = (
    "Figures are with 95 % percentile intervals of {resamples} bootstrap resamples of the pictures (seed {seed}). "
    "A difference is called real where the p-value of a paired randomisation test, adjusted by Holm's method for all "
    "comparisons on the data set, is below 0.05."
)


def write_report(output: str | Path, *, sheets: Sheets | None = None) -> Path:
    """Write report.html for a finished run, from its summary and rows alone: no model and no picture is read.

    `evaluate(..., report=True)` gives it contact sheets, too, for which it makes some masks again.

    Args:
        output: Folder of the run.
        sheets: Pictures to show: name of data set to sheets.

    Returns:
        The file: HTML with styles, charts and pictures in it. It loads nothing, and has no script.

    Raises:
        UnsupportedOptionError: The folder holds no finished run.
    """
    output = Path(output)
    summary = Summary.read(output)
    done = {
        (score.model, score.dataset): read_finished(job_folder(output, score.model, score.dataset), _COLUMNS)
        for score in summary.scores
    }
    write_whole(output / NAME, _page(summary, done, sheets or {}).encode())
    return output / NAME


_Done = Mapping[tuple[str, str], Finished]


def _page(summary: Summary, done: _Done, sheets: Sheets) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{summary.name}: evaluation"),
        tag("style", Html(files(__package__).joinpath("report.css").read_text(encoding="utf-8"))),
    )
    datasets = by_dataset(summary)
    sections = [
        section(
            f"d{number}",
            summary,
            scores,
            [done[score.model, dataset] for score in scores],
            sheets.get(dataset, ()),
        )
        for number, (dataset, scores) in enumerate(datasets.items())
    ]
    body = tag("body", _header(summary, done), tag("main", _models(summary, done), *sections), _footer(summary))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(summary: Summary, done: _Done) -> Html:
    datasets = by_dataset(summary)
    machines: dict[str, None] = {}
    times = []
    for finished in done.values():
        for entry in finished.measured:
            times.append(datetime.fromisoformat(entry["time"]))
            cores = counted(int(entry["cores"]), "core")
            machines[f"{entry['processor']}, {cores}, {entry['system']}, Python {entry['python']}"] = None
    about = summary.about
    facts = {
        "Measured": " to ".join(dict.fromkeys([_time(min(times)), _time(max(times))])) if times else None,
        "On": "; ".join(machines) or None,
        "With": f"transformers-foreground {about['transformers_foreground']}, onnxruntime {about['onnxruntime']}, "
        f"pysodmetrics {about['pysodmetrics']} (normalize=False)",
        "Report": _time(datetime.now(timezone.utc)),
    }
    entries = [join(tag("dt", name), tag("dd", fact)) for name, fact in facts.items() if fact]
    links = [tag("li", tag("a", name, href=f"#d{number}")) for number, name in enumerate(datasets)]
    models = len(next(iter(datasets.values())))
    pictures = sum(scores[0].pictures for scores in datasets.values())
    lead = f"{counted(models, 'model')} on {counted(len(datasets), 'data set')}, {counted(pictures, 'picture')}."
    return tag(
        "header",
        tag("h1", summary.name),
        tag("p", lead, class_="soft"),
        tag("dl", *entries, class_="facts"),
        tag("nav", tag("ul", *links), aria_label="Data sets") if len(links) > 1 else None,
    )


def _time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _models(summary: Summary, done: _Done) -> Html:
    rows = []
    for number, score in enumerate(next(iter(by_dataset(summary).values()))):
        job = done[score.model, score.dataset].job
        options = {key: value for key, value in job["model"]["options"].items() if key != "dtype"}
        rows.append(
            tag(
                "tr",
                tag("th", swatch_of(number), " ", score.model, scope="row"),
                tag("td", job["model"]["id"], class_="left id"),
                tag("td", job["dtype"], class_="left"),
                tag("td", ", ".join(f"{key}={value}" for key, value in options.items()) or "–", class_="left"),
                tag("td", tag("code", job["sha256"][0][:12]), class_="left"),
            )
        )
    headings = ("model", "repository or folder", "dtype", "options", "SHA-256 begins")
    return tag("section", tag("h2", "Models"), table("Models", headings, rows, kind="models", left=True), id="models")


def _footer(summary: Summary) -> Html:
    return tag("footer", tag("p", _STATISTICS.format(**summary.about)))
