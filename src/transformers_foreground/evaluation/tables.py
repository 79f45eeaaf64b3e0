"""A summary as tables in Markdown and LaTeX: a row for each measure, a column for each model, the best in bold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from transformers_foreground.evaluation.aggregates import BINARY, BOUNDARY, CORRECTION, Aggregate, alpha
from transformers_foreground.evaluation.selective import Selection

if TYPE_CHECKING:
    from transformers_foreground.evaluation.summary import Comparison, Figure, Score, Summary

STATISTICS: Final = (
    "In brackets: 95 % percentile intervals of {resamples} bootstrap resamples of the images (seed {seed}). A "
    "difference is called real if it is significant: the p-value of a paired randomisation test is below 0.05 after "
    "Holm's adjustment for all pairs of models that are compared by the same measure on the same data set (each "
    "measure is a family of its own). “Too few images” means that so few, or so few resamples, cannot show any "
    "difference. “–” means that no image has a value: the measure is not defined there, or all rows are errors."
)
VERSIONS: Final = (
    "transformers-foreground {transformers_foreground}, pysodmetrics {pysodmetrics} (normalize=False), onnxruntime "
    "{onnxruntime}."
)
INVERTED: Final = " All models are wrong on most pixels. Are the masks inverted? White must be the foreground."
SECONDS: Final = "seconds per image, model alone (models ran one after another: do not compare)"
AURC: Final = "AURC of 1 − IoU, images ranked by doubt ↓ (random order; best order)"
SPEARMAN: Final = "Spearman of doubt and IoU ↓"


def aggregate_of(name: str) -> Aggregate:
    """Return the measure of this name."""
    bands = [name.partition("@")[2]] if "@" in name else []
    return next(a for a in (*BINARY, *BOUNDARY, *CORRECTION, *alpha(bands)) if a.name == name)


def by_dataset(summary: Summary) -> dict[str, list[Score]]:
    """Return each data set's scores, in the summary's order."""
    found: dict[str, list[Score]] = {}
    for score in summary.scores:
        found.setdefault(score.dataset, []).append(score)
    return found


def about_rows(scores: Sequence[Score]) -> str:
    """Return a sentence on the numbers of images, errors and empty truths, and one if the masks seem inverted."""
    parts = [f"{scores[0].images} images"]
    for score in scores:
        if score.errors:
            parts.append(f"{score.errors} failed with {score.model}")
    if scores[0].empty:
        parts.append(f"{scores[0].empty} with an empty truth (F, IoU: 0 by definition)")
    errors = [score.measures[name].value for score in scores for name in ("mae", "mad") if name in score.measures]
    inverted = errors and all(error is not None and error > 0.5 for error in errors)
    return f"{', '.join(parts)}.{INVERTED if inverted else ''}"


def _rows(
    scores: Sequence[Score], escape: Callable[[str], str], bold: Callable[[str], str], arrows: tuple[str, str]
) -> list[list[str]]:
    rows = []
    for name in scores[0].measures:
        aggregate = aggregate_of(name)
        figures = [score.measures[name] for score in scores]
        texts = [escape(_figure(figure, aggregate.digits)) for figure in figures]
        best = best_value(figures, aggregate.higher)
        cells = [
            bold(text) if figure.value is not None and figure.value == best else text
            for text, figure in zip(texts, figures, strict=True)
        ]
        rows.append([f"{escape(aggregate.title)} {arrows[not aggregate.higher]}", *cells])
    return rows


def best_value(figures: Sequence[Figure], higher: bool) -> float | None:
    """Return the value to set in bold; `None` if all are equal, or only one is known."""
    known = {figure.value for figure in figures if figure.value is not None}
    return (max if higher else min)(known) if len(known) > 1 else None


def _figure(figure: Figure, digits: int) -> str:
    if figure.value is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def comparison_row(comparison: Comparison) -> list[str]:
    """Return the cells of a comparison, under `HEADINGS`."""
    digits = aggregate_of(comparison.measure).digits
    span = "–"
    if comparison.low is not None and comparison.high is not None:
        span = f"[{comparison.low:+.{digits}f}, {comparison.high:+.{digits}f}]"
    return [
        aggregate_of(comparison.measure).title,
        f"{comparison.difference:+.{digits}f}",
        span,
        f"{comparison.p_adjusted:.4f}",
        f"yes: {comparison.better}" if comparison.real else "too few images" if comparison.too_few else "no",
    ]


def pairs(summary: Summary, dataset: str) -> dict[tuple[str, str], list[Comparison]]:
    """Return a data set's comparisons, by the labels of the two models."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in summary.comparisons:
        if comparison.dataset == dataset:
            found.setdefault((comparison.first, comparison.second), []).append(comparison)
    return found


HEADINGS = ("measure", "difference", "95 % interval", "p (Holm)", "real?")


def selection_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Return two rows on how well each model's doubt ranks the images; none if IoU is not measured."""
    if not any(score.selection for score in scores):
        return []
    return [
        [AURC, *(_aurc(score.selection) for score in scores)],
        [SPEARMAN, *(_spearman(score.selection) for score in scores)],
    ]


def _aurc(selection: Selection | None) -> str:
    if selection is None:
        return "–"
    return f"{selection.aurc:.4f} ({selection.aurc_random:.4f}; {selection.aurc_best:.4f})"


def _spearman(selection: Selection | None) -> str:
    if selection is None or selection.spearman is None:
        return "–"
    if selection.low is None or selection.high is None:
        return f"{selection.spearman:+.2f}"
    return f"{selection.spearman:+.2f} [{selection.low:+.2f}, {selection.high:+.2f}]"


def markdown(summary: Summary) -> str:
    """Return a summary in Markdown, with names and notes escaped."""
    about = STATISTICS.format(**summary.about), VERSIONS.format(**summary.about)
    parts = [f"# {_plain(summary.name)}", " ".join(about)]
    if not summary.complete:
        parts.append("**Not complete: some rows are not measured yet.**")
    for dataset, scores in by_dataset(summary).items():
        note = " ".join(filter(None, [summary.notes.get(dataset), about_rows(scores)]))
        parts += [f"## {_plain(dataset)}", _plain(note)]
        table = _rows(scores, _plain, "**{}**".format, ("↑", "↓"))
        table += [list(map(_plain, row)) for row in selection_rows(scores)]
        table.append([SECONDS, *(_seconds(score) for score in scores)])
        parts.append(_markdown_table(["", *(_plain(score.model) for score in scores)], table))
        for (first, second), compared in pairs(summary, dataset).items():
            rows = [list(map(_plain, comparison_row(comparison))) for comparison in compared]
            parts += [f"### {_plain(first)} minus {_plain(second)}", _markdown_table(HEADINGS, rows)]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Escape what HTML or Markdown would read as markup."""
    return (
        escape(text, quote=False).translate({ord(sign): f"&#{ord(sign)};" for sign in "|`*\\~"}).replace("](", "]&#40;")
    )


def _seconds(score: Score) -> str:
    return "–" if score.seconds is None else f"{score.seconds:.3f}"


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(headings), ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": r"$-$",
    "↓": r"$\downarrow$",
}


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex(summary: Summary) -> str:
    """Return a summary in LaTeX: a table for each data set, and one for its comparisons; needs booktabs."""
    parts = [f"% {summary.name}", "% \\usepackage{booktabs}"]
    for dataset, scores in by_dataset(summary).items():
        rows = _rows(scores, _tex, r"\textbf{{{}}}".format, (r"$\uparrow$", r"$\downarrow$"))
        rows += [list(map(_tex, row)) for row in selection_rows(scores)]
        caption = " ".join(filter(None, [f"{dataset}.", summary.notes.get(dataset), about_rows(scores)]))
        parts.append(_latex_table(caption, ["", *(_tex(score.model) for score in scores)], rows))
        for (first, second), compared in pairs(summary, dataset).items():
            parts.append(
                _latex_table(
                    f"{dataset}: {first} minus {second}.",
                    list(map(_tex, HEADINGS)),
                    [[_tex(cell) for cell in comparison_row(comparison)] for comparison in compared],
                )
            )
    return "\n\n".join(parts) + "\n"


def _latex_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Braces around the first cell: a bracket at its beginning would be an argument of the \\ before.
    body = [rf"    {{{row[0]}}} & {' & '.join(row[1:])} \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_tex(caption)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
            r"    \toprule",
            rf"    {' & '.join(headings)} \\",
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )
