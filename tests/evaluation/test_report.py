"""The HTML report: what is in it, that it loads nothing, and (with Chromium) how it looks."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_data import TITLE, recipe_of, write_pairs

from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.evaluation import Summary, evaluate, write_report
from transformers_foreground.evaluation.charts import Axis, style_of
from transformers_foreground.segmenter import Segmenter

pytest.importorskip("py_sod_metrics")

HOSTILE = '<script>alert("1")</script> & <b>'
VOID = {"img", "meta", "br"}


class Page(HTMLParser):
    """A page as elements (name, attributes, text inside); fails where they are not nested."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(self.raw)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append(len(self.elements))
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, tag: str, class_: str | None = None) -> list[tuple[dict[str, str], str]]:
        """Return attributes and text of elements, in order."""
        found = ((attrs, "".join(text)) for name, attrs, text in self.elements if name == tag)
        return [(a, text) for a, text in found if class_ is None or class_ in a.get("class", "").split()]

    @property
    def text(self) -> str:
        return "".join(self.elements[0][2])

    def images(self) -> dict[str, Image.Image]:
        """Return all images by their alternative text."""
        found = {}
        for attrs, _ in self.all("img"):
            kind, _, data = attrs["src"].partition(";base64,")
            assert kind in ("data:image/webp", "data:image/jpeg")
            image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            image.load()
            assert image.size == (int(attrs["width"]), int(attrs["height"]))
            found[attrs["alt"]] = image
        return found

    def loads_nothing(self) -> None:
        assert {name for name, *_ in self.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})
        for _, attrs, _ in self.elements:
            assert attrs.get("src", "data:").startswith("data:")
            assert attrs.get("href", "#").startswith("#")
            assert {"srcset", "xlink:href", "background", "action"}.isdisjoint(attrs)
            assert not [name for name in attrs if name.startswith("on")]
        assert not re.search(r"https?:|url\(|@import", self.raw)
        policy = next(a for a, _ in self.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
        assert policy["content"].startswith("default-src 'none'")


def _rows(output: Path, job: str) -> list[dict[str, Any]]:
    return [
        row for path in sorted((output / "rows" / job).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_figures_comparisons_and_curves(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    write_pairs(data, range(10, 14))
    recipe = recipe_of(models, measures=["binary", "boundary", "correction", "alpha"], bands={"edge": {"grow": 3}})
    output = tmp_path / "out"
    evaluate(recipe, output=output, data=data, report=True)
    page = Page(output / "report.html")
    page.loads_nothing()
    summary = json.loads((output / "summary.json").read_text())
    good, dim = (score["measures"] for score in summary["scores"])
    expected = [models[name]["value"] for name in good for models in (good, dim)]
    assert [float(attrs["value"]) for attrs, _ in page.all("data")] == expected
    shown = dict(zip(good, zip(page.all("data")[::2], page.all("data")[1::2], strict=True), strict=True))
    assert shown["mae"][0][1] == f"{good['mae']['value']:.4f}"
    assert shown["sad@edge"][1][1] == f"{dim['sad@edge']['value']:.3f}"
    assert f"{good['mae']['low']:.4f} to {good['mae']['high']:.4f}" in page.text
    assert len(page.all("strong")) == sum(good[name]["value"] != dim[name]["value"] for name in good)
    assert page.all("strong")[0][1] == shown["mae"][0][1]

    verdicts = [text for attrs, text in page.all("td", "left") if text.startswith(("yes: ", "no"))]
    assert verdicts == ["yes: " + c["better"] if c["real"] else "no" for c in summary["comparisons"]]
    assert any(verdict == "yes: good" for verdict in verdicts)
    assert f"{summary['comparisons'][0]['p_adjusted']:.4f}" in page.text
    real = sum(c["better"] == "good" for c in summary["comparisons"])
    assert f"dim minus good: of {len(verdicts)} measures, good is better by {real}, " in page.text

    charts = page.all("svg", "chart")
    assert [text[:15] for _, text in charts] == [
        "Precision and r",
        "F by threshold,",
        "F by threshold,",
        "Risk by coverag",
    ]
    assert all(attrs["role"] == "img" for attrs, _ in charts)
    assert len(page.all("title")) == 1 + 4 + 2  # the page, charts, times
    assert f"good: max {good['f_max']['value']:.4f} at" in charts[1][1]
    assert f"dim: max {dim['f_pr_max']['value']:.4f} at" in charts[2][1]
    assert "F, mean of curves" in page.text
    assert "F of mean P, R" in page.text
    assert len(page.all("path", "line")) == 2 + 4 * 2 * 2  # in the list of models, in charts, in their legends
    assert page.all("ul", "legend")[0][1] == "gooddim"
    for score in summary["scores"]:
        assert f"{score['seconds']:.3f}" in page.text
        assert f"area {score['selection']['aurc']:.4f}" in page.text
    assert f"{summary['scores'][0]['selection']['spearman']:+.2f}" in page.text
    assert "do not compare" in page.text


def test_images(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(recipe_of(models), output=output, data=data, report=True)
    page = Page(output / "report.html")
    good, dim = _rows(output, "good--pairs"), _rows(output, "dim--pairs")
    by_mae = [row["key"] for row in sorted(good, key=lambda row: row["mae"])]
    apart = {row["key"]: -abs(row["mae"] - other["mae"]) for row, other in zip(good, dim, strict=True)}
    expected = by_mae[:3] + by_mae[::-1][:3] + sorted(apart, key=apart.__getitem__)[:3]
    assert [text.partition("MAE")[0].removesuffix("dim:") for _, text in page.all("figcaption")[4:]] == expected
    assert [text for _, text in page.all("h4")] == [
        "Best by MAE: good",
        "Worst by MAE: good",
        "Most different by MAE: dim, good",
    ]
    assert f"MAE {min(row['mae'] for row in good):.4f}" in page.text
    images, key = page.images(), by_mae[0]
    assert len(page.all("img")) == 6 * 4 + 3 * 6
    truth = np.asarray(Image.open(data / f"data/gt/{key}.png"), float)
    image = np.asarray(Image.open(data / f"data/im/{key}.png"), float)
    assert np.abs(np.asarray(images[f"{key}: image"], float) - image).mean() < 12
    assert np.abs(np.asarray(images[f"{key}: truth"].convert("L"), float) - truth).mean() < 6
    mask = np.asarray(images[f"{key}: good"].convert("L"), float)
    assert np.abs(mask - truth).mean() / 255 == pytest.approx(min(row["mae"] for row in good), abs=0.02)
    lost = np.asarray(images[f"{sorted(apart, key=apart.__getitem__)[0]}: |Δ| dim"], float).mean(axis=(0, 1))
    assert lost[2] > 2 * lost[0]  # blue: the dim model loses the foreground


def test_only_one_model_is_open_at_a_time(
    data: Path, models: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Watched(Segmenter):
        def __init__(self, *args: Any, **options: Any) -> None:
            events.append("made")
            super().__init__(*args, **options)

        def dispose(self) -> None:
            events.append("dispose")
            super().dispose()

    monkeypatch.setattr("transformers_foreground.evaluation.contact_sheets.Segmenter", Watched)
    evaluate(recipe_of(models), output=tmp_path / "out", data=data, report=True)
    assert events == ["made", "dispose"] * 2


def test_text_is_escaped(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    for part in ("im", "gt"):
        (data / "data" / part / "p1.png").rename(data / "data" / part / "<i>&amp;.png")
    models[0]["label"] = HOSTILE
    recipe = recipe_of(models, note=HOSTILE, only=["<i>&amp;", "p2", "p3"])
    recipe["datasets"][0]["name"] = 'd "<u>'
    evaluate(recipe, output=tmp_path / "out", data=data, report=True)
    page = Page(tmp_path / "out" / "report.html")
    page.loads_nothing()
    assert {name for name, *_ in page.elements}.isdisjoint({"u", "fast"})
    assert [text for _, text in page.all("h1")] == [TITLE]
    assert page.all("title")[0][1] == f"{TITLE}: evaluation"
    assert [text for _, text in page.all("h2")] == ["Models", 'd "<u>']
    assert page.text.count(HOSTILE) > 8
    assert "<i>&amp;" in [text for _, text in page.all("b")]
    assert f"<i>&amp;: {HOSTILE}" in page.images()


def test_from_rows_alone(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    recipe = recipe_of(models)
    evaluate(recipe, output=output, data=data, report=True)
    whole = Page(output / "report.html")
    for folder in ("data", "good", "dim"):
        shutil.rmtree(tmp_path / folder)
    assert write_report(output) == output / "report.html"
    page = Page(output / "report.html")
    assert not page.all("img")
    assert page.all("data") == whole.all("data")
    assert page.all("path") == whole.all("path")
    with pytest.raises(ForegroundError):
        evaluate(recipe, output=output, data=data, report=True)

    (output / "rows/good--pairs/shard-000002.parquet").unlink()
    with pytest.raises(UnsupportedOptionError, match="lacks rows"):
        write_report(output)
    (output / "rows/good--pairs/job.json").write_text("{")
    with pytest.raises(UnsupportedOptionError, match="cannot be read"):
        write_report(output)
    (output / "summary.json").write_text("{}")
    with pytest.raises(UnsupportedOptionError, match="Evaluate again"):
        write_report(output)
    with pytest.raises(UnsupportedOptionError, match=r"no summary\.json"):
        write_report(tmp_path / "none")


def test_a_summary_that_was_read_is_the_same(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    summary = evaluate(recipe_of(models), output=tmp_path / "out", data=data)
    assert Summary.read(tmp_path / "out") == summary


def test_later_and_again(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(recipe_of(models), output=output, data=data)
    assert not (output / "report.html").exists()
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    fresh: list[Any] = []
    evaluate(recipe_of(models), output=output, data=data, report=True, on_row=fresh.append)
    assert not fresh
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before
    assert (output / "report.html").is_file()
    evaluate(recipe_of(models), output=output, data=data)
    assert (output / "report.html").is_file()
    evaluate(recipe_of(models), output=output, data=data, part=(1, 2), report=True)
    evaluate(recipe_of(models), output=output, data=data, restart=True)
    assert not (output / "report.html").exists()  # it told of other rows


def test_when_and_on_what(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(recipe_of(models[:1]), output=output, data=data)
    page = Page(write_report(output))
    facts = dict(zip((t for _, t in page.all("dt")), (t for _, t in page.all("dd")), strict=True))
    assert list(facts) == ["Measured", "On", "With", "Report"]
    assert "core" in facts["On"]
    assert f"Python {sys.version.split()[0]}" in facts["On"]
    assert "onnxruntime" in facts["With"]
    assert "Differences" not in page.text
    assert not page.all("strong")
    for path in output.rglob("*.parquet"):  # as rows were before they told
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert [text for _, text in Page(write_report(output)).all("dt")] == ["With", "Report"]


def test_failures_and_pixels_that_do_not_count(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    (data / "data/im/p1.png").write_bytes(b"no image")
    for path in (data / "data/gt").iterdir():
        mask = np.array(Image.open(path))
        mask[:, :20] = 128
        Image.fromarray(mask).save(path)
    evaluate(recipe_of(models, ignore=128, measures=["binary"]), output=tmp_path / "out", data=data, report=True)
    page = Page(tmp_path / "out" / "report.html")
    assert [text for _, text in page.all("summary")][-1] == "2 rows"
    assert "p1 with dim: " in page.text
    images = page.images()
    assert "p1: image" not in images
    gray = np.asarray(next(image for alt, image in images.items() if "|Δ|" in alt), float)[:, :16]
    assert np.abs(gray - 70).mean() < 8


@pytest.mark.parametrize(("group", "title"), [("boundary", "boundary IoU"), ("correction", "HCE"), ("alpha", "MAD")])
def test_without_measures_of_masks(
    data: Path, models: list[dict[str, Any]], tmp_path: Path, group: str, title: str
) -> None:
    evaluate(recipe_of(models, measures=[group]), output=tmp_path / "out", data=data, limit=3, report=True)
    page = Page(tmp_path / "out" / "report.html")
    assert not page.all("svg", "chart")
    heads = [text for _, text in page.all("h4")]
    assert heads[:2] == [f"Best by {title}: good", f"Worst by {title}: good"]
    assert heads[2:] in ([], [f"Most different by {title}: dim, good"])
    shown = [text for _, text in page.all("figcaption")]
    assert len(set(shown[:3])) == 3  # the best are not the worst, too


def test_nothing_has_values(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    for path in (data / "data/im").iterdir():
        path.write_bytes(b"no image")
    evaluate(recipe_of(models), output=tmp_path / "out", data=data, report=True)
    page = Page(tmp_path / "out" / "report.html")
    assert not page.all("img")
    assert not page.all("svg", "chart")
    assert "20 rows" in page.text


def test_axis_and_styles() -> None:
    assert Axis.over(np.array([0.1])).ticks == pytest.approx((0.1, 0.2))
    axis = Axis.over(np.array([0.013, 1.7]))
    assert axis.ticks == pytest.approx((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2))
    assert 0 < axis.share(0.013) < axis.share(1.7) < 1
    assert len({style_of(number) for number in range(36)}) == 36


def test_the_command(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from transformers_foreground.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    recipe, output = tmp_path / "tiny.yaml", tmp_path / "out"
    recipe.write_text(json.dumps(recipe_of(models)))
    done = CliRunner().invoke(app, [str(recipe), "-o", str(output), "--data", str(data), "--limit", "4", "--report"])
    assert done.exit_code == 0
    assert "report.html" in done.stderr
    Page(output / "report.html").loads_nothing()


def _chromium() -> str:
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium found: apt-get install chromium, or set CHROMIUM")
    return found


def _run_chromium(folder: Path, page: Path, *options: str) -> str:
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", *options)
    command = [_chromium(), *options, "--virtual-time-budget=3000", page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout


# A window is at least 500 pixels wide, so a phone is a frame in it. A copy of the report tells its width from inside.
_FRAME = """<!doctype html><title>?</title><body style="margin:0">
<script>onmessage = event => {{ document.title = event.data }}</script>
<iframe src="{name}" style="border:0;width:{width}px;height:2000px"></iframe>"""
_TELL = """<script>document.querySelectorAll("details").forEach(details => { details.open = true });
parent.postMessage([document.documentElement.scrollWidth, innerWidth].join(), "*")</script></body>"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_in_a_browser(data: Path, models: list[dict[str, Any]], tmp_path: Path, width: int) -> None:
    _chromium()
    models[1]["label"] = "a model whose label is as long as those of people who try many options at a time"
    models += [{"id": models[0]["id"], "label": f"{i}", "resampling": "antialias"} for i in range(4)]
    recipe = recipe_of(models, measures=["binary", "boundary", "alpha"], note="An_unusually_long_word_" * 6)
    evaluate(recipe, output=tmp_path / "out", data=data, limit=6, report=True)
    report = tmp_path / "out" / "report.html"
    telling = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
    (tmp_path / "telling.html").write_text(telling.replace("</body>", _TELL))
    frame = tmp_path / "frame.html"
    frame.write_text(_FRAME.format(name="telling.html", width=width))
    told = re.search(r"<title>(\d+),(\d+)</title>", _run_chromium(tmp_path, frame, "--dump-dom"))
    assert told is not None
    assert int(told[2]) == width
    assert int(told[1]) <= width

    frame.write_text(_FRAME.format(name="out/report.html", width=width))
    shot = tmp_path / f"report-{width}.png"
    _run_chromium(tmp_path, frame, f"--screenshot={shot}", f"--window-size={max(width, 500)},2000", "--hide-scrollbars")
    pixels = np.asarray(Image.open(shot).convert("RGB"), float)
    assert pixels.shape[:2] == (2000, max(width, 500))
    assert pixels[:, :width].std() > 10
    assert len(np.unique(pixels[:, :width].reshape(-1, 3), axis=0)) > 50
