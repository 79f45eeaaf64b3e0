"""Evaluation as a whole: tiny models on tiny data sets; runs that are killed; and one real check."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SHARED, real_model
from PIL import Image
from tiny_data import TITLE, recipe_of, write_pairs
from tiny_models import brightness_model, write_repo

from transformers_foreground.errors import ForegroundError, MissingExtraError, UnsupportedOptionError
from transformers_foreground.evaluation import Recipe, Summary, evaluate
from transformers_foreground.evaluation.recipes import read_recipe

sod = pytest.importorskip("py_sod_metrics")


def _rows(output: Path) -> list[dict[str, Any]]:
    paths = sorted((output / "rows").rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def _values(output: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in _rows(output)]


def _figures(summary: Summary) -> Any:
    return [(s.model, s.dataset, s.images, s.errors, s.measures) for s in summary.scores], summary.comparisons


def test_two_models(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    write_pairs(data, range(10, 14))  # with ten alone, no difference could be real by 26 measures
    recipe = recipe_of(models, measures=["binary", "boundary", "correction", "alpha"], bands={"edge": {"grow": 3}})
    summary = evaluate(recipe, output=tmp_path / "out", data=data)
    assert summary.complete
    assert summary.errors == 0
    good, dim = summary.score("good", "pairs"), summary.score("dim", "pairs")
    assert good.images == dim.images == len({row["key"] for row in _rows(tmp_path / "out")}) == 14
    figure = good.measures["iou"]
    assert None not in (figure.low, figure.value, figure.high)
    assert figure.low <= figure.value <= figure.high  # type: ignore[operator]
    assert figure.value > 0.7  # type: ignore[operator]
    assert dim.measures["iou"].value == 0
    assert good.measures["sad@edge"].value <= good.measures["sad"].value  # type: ignore[operator]
    verdicts = {c.measure: (c.first, c.second, c.real, c.better) for c in summary.comparisons}
    assert verdicts["mae"] == ("dim", "good", True, "good")
    assert len(list((tmp_path / "out").glob("rows/*/shard-*.parquet"))) == 2 * 5


def test_the_same_as_a_plain_loop(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    from tiny_models import opened

    _equals_a_plain_loop(opened(models[0]["id"]), evaluate(recipe_of(models[:1]), output=tmp_path / "out", data=data))


def _equals_a_plain_loop(loaded: Any, summary: Summary, folder: Path | None = None, count: int = 10) -> None:
    """Compare the first model's score with what pysodmetrics gives in a loop over the images."""
    folder = folder or Path(loaded.files.folder).parent / "data"
    keys = sorted(path.stem for path in (folder / "gt").iterdir())[:count]
    images = [next((folder / "im").glob(f"{key}.*")) for key in keys]
    curves = {
        "precision": sod.PrecisionHandler(with_dynamic=True, with_adaptive=False),
        "recall": sod.RecallHandler(with_dynamic=True, with_adaptive=False),
        "f": sod.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
        "iou": sod.IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
        "ber": sod.BERHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
    }
    f, e, s, wf, mae = sod.FmeasureV2(curves), sod.Emeasure(), sod.Smeasure(), sod.WeightedFmeasure(), sod.MAE()
    for key, image in zip(keys, images, strict=True):
        truth = np.asarray(Image.open(folder / "gt" / f"{key}.png").convert("L")) > 128
        prediction = loaded(image).mask / 255.0
        for measure in (f, e, s, wf, mae):
            measure.step(prediction, truth, normalize=False)
    results, em = f.get_results(), e.get_results()["em"]
    p, r = results["precision"]["dynamic"], results["recall"]["dynamic"]
    expected = {
        "mae": mae.get_results()["mae"],
        "f_max": results["f"]["dynamic"].max(),
        "f_mean": results["f"]["dynamic"].mean(),
        "f_pr_max": (1.3 * p * r / np.maximum(0.3 * p + r, 1e-12)).max(),
        "f_adaptive": results["f"]["adaptive"],
        "f_weighted": wf.get_results()["wfm"],
        "s": s.get_results()["sm"],
        "e_max": em["curve"].max(),
        "e_mean": em["curve"].mean(),
        "e_adaptive": em["adp"],
        "iou": results["iou"]["binary"],
        "ber": results["ber"]["binary"],
    }
    score = summary.scores[0]
    assert score.images == count
    assert {name: score.measures[name].value for name in expected} == pytest.approx(expected, abs=5e-5)


@pytest.mark.model
def test_pascal_s_equals_a_plain_loop(tmp_path: Path) -> None:
    from tiny_models import opened

    folder = SHARED / "data" / "pascal-s-240"
    if not folder.is_dir():
        pytest.skip("PASCAL-S is not in ../shared/data")
    model = real_model("xuebinqin/u2netp")
    recipe = {
        "models": [str(model)],
        "datasets": [{"name": "PASCAL-S", "images": "im", "truth": "gt", "measures": ["binary"]}],
    }
    summary = evaluate(recipe, output=tmp_path / "out", data=folder, limit=12)
    _equals_a_plain_loop(opened(model), summary, folder, 12)


_SLOW_RUN = """
import json, sys, time
from transformers_foreground.evaluation import evaluate
recipe, output, data = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
rows = []
evaluate(recipe, output=output, data=data, on_row=lambda row: rows.append(row) or time.sleep(600 * (len(rows) > 16)))
"""


def test_a_killed_run_goes_on(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    recipe, output = recipe_of(models), tmp_path / "killed"
    command = [sys.executable, "-c", _SLOW_RUN, json.dumps(recipe), str(output), str(data)]
    run = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    deadline = time.monotonic() + 60
    while len(list(output.glob("rows/*/shard-*.parquet"))) < 5 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(60) == -signal.SIGKILL, "it ended before it could be killed"
    before = {path: path.stat().st_mtime_ns for path in output.glob("rows/*/shard-*.parquet")}
    assert 5 <= len(before) < 8
    assert not (output / "summary.json").exists()

    fresh: list[Mapping[str, Any]] = []
    resumed = evaluate(recipe, output=output, data=data, on_row=fresh.append)
    undisturbed = evaluate(recipe, output=tmp_path / "whole", data=data)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was done twice
    assert len(fresh) == 20 - sum(pq.read_metadata(path).num_rows for path in before)
    rows = _rows(output)
    assert len(rows) == len({(row["model"], row["key"]) for row in rows}) == 20
    assert _values(output) == _values(tmp_path / "whole")
    assert _figures(resumed) == _figures(undisturbed)


def test_a_damaged_shard_is_made_again(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    recipe, output = recipe_of(models[:1]), tmp_path / "out"
    evaluate(recipe, output=output, data=data)
    before = _values(output)
    path = output / "rows" / "good--pairs" / "shard-000001.parquet"
    path.write_bytes(path.read_bytes()[:100])
    fresh: list[Any] = []
    assert evaluate(recipe, output=output, data=data, on_row=fresh.append).complete
    assert [row["key"] for row in fresh] == ["p3", "p4", "p5"]
    assert _values(output) == before


def test_parts(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    recipe, output = recipe_of(models[:1]), tmp_path / "out"
    first = evaluate(recipe, output=output, data=data, part=(1, 2))
    assert not first.complete
    assert first.score("good", "pairs").images == 6  # shards 0 and 2
    assert not (output / "summary.json").exists()
    assert "Not complete" in first.to_markdown()
    second = evaluate(recipe, output=output, data=data, part=(2, 2))
    assert second.complete
    assert _figures(second) == _figures(evaluate(recipe, output=tmp_path / "whole", data=data))
    for wrong in ({"part": (0, 2)}, {"part": (1, 2), "restart": True}):
        with pytest.raises(UnsupportedOptionError):
            evaluate(recipe, output=output, data=data, **wrong)


def test_rows_of_another_run_are_not_mixed_in(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(recipe_of(models[:1]), output=output, data=data)
    changed = recipe_of([{**models[0], "resampling": "antialias"}])
    with pytest.raises(UnsupportedOptionError, match=r"rows of another run \(different: model\)"):
        evaluate(changed, output=output, data=data)
    assert evaluate(changed, output=output, data=data, restart=True).complete


@pytest.mark.parametrize("name", ["summary.json", "summary.md", "summary.tex", "report.html"])
def test_other_files_in_the_folder_are_kept(
    name: str, data: Path, models: list[dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / name).write_text("somebody's")
    with pytest.raises(UnsupportedOptionError, match=rf"out/{name} exists, and is of no evaluation here"):
        evaluate(recipe_of(models[:1]), output=output, data=data)
    assert os.listdir(output) == [name]
    assert (output / name).read_text() == "somebody's"


def test_restart_deletes_rows_alone(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate(recipe_of(models[:1]), output=output, data=data)
    notes = output / "rows/good--pairs/notes.txt"
    notes.write_text("somebody's")
    assert evaluate(recipe_of(models[:1]), output=output, data=data, restart=True).complete
    assert notes.read_text() == "somebody's"


def test_bad_images_are_rows(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    (data / "data/im/p1.png").write_bytes(b"no image")
    (data / "data/gt/p2.png").unlink()
    Image.new("L", (9, 9)).save(data / "data/gt/p3.png")
    Image.new("RGB", (48, 32), "red").save(data / "data/gt/p4.png")
    Image.new("L", (48, 32)).save(data / "data/gt/p5.png")
    summary = evaluate(recipe_of(models), output=tmp_path / "out", data=data)
    errors = {row["key"]: row["error"] for row in _rows(tmp_path / "out") if row["error"]}
    assert sorted(errors) == ["p1", "p2", "p3", "p4"]
    assert "p1.png" in errors["p1"]
    assert "no truth" in errors["p2"]
    assert "9×9" in errors["p3"]
    assert "colours" in errors["p4"]
    score = summary.score("good", "pairs")
    assert (score.images, score.errors, score.empty) == (10, 4, 1)
    assert score.measures["mae"].images == summary.comparisons[0].images == 6
    assert "4 failed with good" in summary.to_markdown()


def test_inverted_masks_are_suspected(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    hint = "Are the masks inverted?"
    assert hint not in evaluate(recipe_of(models), output=tmp_path / "right", data=data).to_markdown()
    for path in (data / "data/gt").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert hint in evaluate(recipe_of(models), output=tmp_path / "inverted", data=data).to_markdown()


def test_a_measure_that_fails_is_a_row(
    data: Path, models: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("skeleton fell over")

    monkeypatch.setattr("transformers_foreground.evaluation.metrics.boundary_iou", fail)
    summary = evaluate(recipe_of(models[:1]), output=tmp_path / "out", data=data)
    assert summary.errors == 10
    assert "RuntimeError: skeleton fell over" in _rows(tmp_path / "out")[0]["error"]
    assert summary.scores[0].measures["mae"].value is None
    assert "–" in summary.to_markdown()


def test_ignored_pixels_trimaps_and_binarisation(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    (data / "data/tri").mkdir()
    for path in (data / "data/gt").iterdir():
        mask = np.array(Image.open(path))
        trimap = mask.copy()
        mask[0] = 128
        trimap[:, :5] = 128
        Image.fromarray(mask).save(path)
        Image.fromarray(trimap).save(data / "data/tri" / path.name)
    recipe = recipe_of(models[:1], measures=["binary", "alpha"], bands={"tri": "data/tri"}, binarise=">= 128")
    seen = evaluate(recipe, output=tmp_path / "seen", data=data).scores[0].measures
    recipe["datasets"][0]["ignore"] = 128
    ignored = evaluate(recipe, output=tmp_path / "ignored", data=data).scores[0].measures
    assert ignored["iou"].value > seen["iou"].value  # type: ignore[operator]
    assert ignored["s"].value is None
    assert seen["s"].value is not None
    assert 0 < ignored["sad@tri"].value < seen["sad@tri"].value < seen["sad"].value  # type: ignore[operator]


@pytest.mark.parametrize("source", ["parquet", "dataset"])
def test_other_sources(data: Path, models: list[dict[str, Any]], tmp_path: Path, source: str) -> None:
    keys = [f"p{i}" for i in range(10)]
    table = {"name": keys}
    for column, part in (("image", "im"), ("mask", "gt")):
        table[column] = [{"bytes": (data / f"data/{part}/{key}.png").read_bytes(), "path": None} for key in keys]
    table["mask"][7] = None  # type: ignore[call-overload]
    image = {"_type": "Image"}
    info = {"info": {"features": {"name": {"_type": "Value", "dtype": "string"}, "image": image, "mask": image}}}
    arrow = pa.table(table).replace_schema_metadata({"huggingface": json.dumps(info)})
    (tmp_path / "hub").mkdir()
    pq.write_table(arrow.slice(0, 6), tmp_path / "hub" / "test-0.parquet", row_group_size=4)
    pq.write_table(arrow.slice(6), tmp_path / "hub" / "test-1.parquet")
    dataset = {"name": "pairs", "key_column": "name", "without": ["p0"]}
    dataset |= {"parquet": "hub/*.parquet"} if source == "parquet" else {"dataset": str(tmp_path / "hub")}
    recipe = {**recipe_of(models[:1]), "datasets": [dataset]}
    summary = evaluate(recipe, output=tmp_path / "out", data=tmp_path)
    by_folder = evaluate(recipe_of(models[:1], without=["p0"]), output=tmp_path / "folder", data=data)
    rows, expected = _values(tmp_path / "out"), _values(tmp_path / "folder")
    assert [row["key"] for row in rows] == keys[1:]
    assert summary.errors == 1
    assert "null" in rows[6]["error"]
    assert by_folder.errors == 0
    del rows[6], expected[6]
    assert rows == expected


@pytest.mark.parametrize("source", ["parquet", "dataset"])
@pytest.mark.parametrize("column", ["truth_column", "key_column"])
def test_a_column_that_is_not_there(models: list[dict[str, Any]], tmp_path: Path, source: str, column: str) -> None:
    folder = tmp_path / ("hub [1]" if source == "parquet" else "hub")
    folder.mkdir()
    pq.write_table(pa.table({"image": [b""], "mask": [b""]}), folder / "test-0.parquet")
    place = {"parquet": "*.parquet"} if source == "parquet" else {"dataset": str(folder)}
    recipe = {**recipe_of(models[:1]), "datasets": [{"name": "d", column: "label", **place}]}
    with pytest.raises(UnsupportedOptionError, match=r"d: .* has no column label; it has image, mask"):
        evaluate(recipe, output=tmp_path / "out", data=folder)


def test_the_summary_in_three_forms(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_pairs(data, range(10, 14))
    summary = evaluate(recipe_of(models, note="50 % of it_all."), output=output, data=data)
    written = json.loads((output / "summary.json").read_text())
    assert written["scores"][0]["measures"]["mae"]["value"] == summary.scores[0].measures["mae"].value
    assert {c["real"] for c in written["comparisons"]} <= {True, False}
    page = (output / "summary.md").read_text()
    assert page.startswith(f"# {escape(TITLE)}\n")
    assert "max F (mean of curves) ↑ | **" in page
    assert "max F (of mean P, R) ↑ | **" in page
    assert "### dim minus good" in page
    assert "yes: good" in page
    tex = (output / "summary.tex").read_text()
    assert r"50 \% of it\_all." in tex
    assert r"{MAE $\downarrow$} & \textbf{0." in tex
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 2


def test_names_and_notes_are_no_markup_in_the_summary(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    models[0]["label"] = "<script>alert(1)</script> | *a* `b`"
    recipe = recipe_of(models, note="![x](https://example.org/x.png) <img src=x>", name="<b>pairs</b>")
    page = evaluate(recipe, output=tmp_path / "out", data=data, limit=3).to_markdown()
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "](" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &#124; &#42;a&#42; &#96;b&#96;" in page


def test_too_few_images_for_a_verdict(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    few = evaluate(recipe_of(models), output=tmp_path / "few", data=data, limit=5)
    assert {(c.real, c.too_few) for c in few.comparisons} == {(False, True)}
    assert "| too few images |" in few.to_markdown()
    coarse = evaluate({**recipe_of(models), "resamples": 5}, output=tmp_path / "coarse", data=data)
    assert {(c.real, c.too_few) for c in coarse.comparisons} == {(False, True)}  # 25 draws cannot tell 0.05
    enough = evaluate(recipe_of(models), output=tmp_path / "enough", data=data)
    assert not any(c.too_few for c in enough.comparisons)
    assert any(c.real for c in enough.comparisons)


def test_each_measure_is_a_family_of_its_own(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    models.append({**models[1], "label": "again"})
    recipe = {**recipe_of(models), "compare": [["dim", "good"], ["again", "dim"]]}
    summary = evaluate(recipe, output=tmp_path / "out", data=data)
    for comparison in summary.comparisons:
        pair = [c for c in summary.comparisons if c.measure == comparison.measure]
        assert len(pair) == 2
        assert comparison.p <= comparison.p_adjusted <= min(1.0, 2 * comparison.p)


def test_what_doubt_is_worth(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    summary = evaluate(recipe_of(models[:1]), output=tmp_path / "out", data=data)
    rows = _rows(tmp_path / "out")
    assert all(0 <= row["doubt"] <= 1 for row in rows)
    selection = summary.scores[0].selection
    assert selection is not None
    assert selection.images == 10
    assert selection.aurc_random == pytest.approx(1 - np.mean([row["iou"] for row in rows]))
    assert f"({selection.aurc_random:.4f}; {selection.aurc_best:.4f})" in summary.to_markdown()
    matte = evaluate(recipe_of(models[:1], measures=["alpha"]), output=tmp_path / "matte", data=data)
    assert matte.scores[0].selection is None
    assert "AURC" not in matte.to_markdown()


def test_models_times_options(models: list[dict[str, Any]]) -> None:
    recipe = read_recipe(
        {
            "options": {"resampling": ["transformers.js", "bria"], "device": "cpu"},
            "models": ["owner/one", {"id": "two", "label": "2", "dtype": ["fp32", "q8"], "resampling": "bria"}],
            "datasets": [{"name": "d", "dataset": "owner/d", "only": [1, 2]}],
        }
    )
    assert [model.label for model in recipe.models] == ["one transformers.js", "one bria", "2 fp32", "2 q8"]
    assert recipe.models[3].options == {"resampling": "bria", "device": "cpu", "dtype": "q8"}
    assert recipe.datasets[0].only == ("1", "2")
    assert recipe.pairs()[0] == ("one bria", "one transformers.js")
    assert read_recipe(recipe) is recipe
    assert isinstance(recipe, Recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "models, a list of 1 to 200"),
        ({"modles": []}, "unknown key 'modles'. Did you mean 'models'"),
        ({"datasets": [{"name": "d"}]}, "images and truth, or parquet"),
        ({"datasets": [{"name": "d", "dataset": "x", "measures": ["iou"]}]}, "Use some of binary"),
        ({"datasets": [{"name": "d", "dataset": "x", "binarise": "half"}]}, "write it like"),
        ({"datasets": [{"name": "d", "dataset": "x", "bands": {"b": 3}}]}, "bands: 'b'"),
        ({"datasets": [{"name": "d", "dataset": "x"}] * 2}, "name d occurs twice"),
        ({"datasets": [{"dataset": "x"}]}, "has no name"),
        ({"models": [{"label": "x"}]}, "has no id"),
        ({"compare": [["good", "bad"]]}, "no model 'bad'"),
        ({"shard_size": 0}, "shard_size: 0 is not a whole number from 1"),
        ({"datasets": [{"name": "d", "images": "no", "truth": "no"}]}, "no folder"),
        (
            {"datasets": [{"name": "d", "images": "data/im", "truth": "data/gt", "only": ["x"]}]},
            "no image is called 'x'",
        ),
        ({"models": [{"id": "a", "label": "Net"}], "compare": [["Net", "Nett"]]}, "Did you mean 'Net'"),
        ({"datasets": [{"name": "d", "dataset": "x", "bands": {"b": {"grow": 1}}}]}, "Add alpha to measures"),
        ({"datasets": [{"name": "d", "images": "data/im", "truth": "good"}]}, "no image in"),
        ({"datasets": [{"name": "d", "parquet": "*.parquet"}]}, "no file matches"),
        ({"models": ["no/model"]}, "no/model"),
        ({"options": {"session_options": {"intra_op_num_threads": "many"}}}, "intra_op_num_threads='many' is no int"),
        ({"options": {"session_options": {"threads": 2}}}, "Unknown session option 'threads'"),
        ({"models": [{"id": "a", "label": "x y"}, {"id": "b", "label": "x-y"}]}, "only in punctuation or case"),
    ],
)
def test_mistakes_in_recipes(
    data: Path, models: list[dict[str, Any]], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ForegroundError, match=message):
        evaluate({**recipe_of(models), **change}, output=tmp_path / "out", data=data)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "evaluation").glob("*.yaml")), ids=lambda path: path.stem)
def test_our_recipes(path: Path, tmp_path: Path) -> None:
    from transformers_foreground.evaluation.sources import open_source

    recipe = read_recipe(path)
    if not (SHARED / "data").is_dir():
        pytest.skip("no ../shared/data")
    for folder in (SHARED / "data").iterdir():
        (tmp_path / folder.name.removesuffix("-240")).symlink_to(folder)
    counts = {spec.name: len(open_source(spec, tmp_path).keys) for spec in recipe.datasets}
    assert counts.get("PASCAL-S", 180) == 180
    assert min(counts.values()) > 0


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[eval\]'"):
        evaluate({}, output=tmp_path)


def test_a_folder_that_cannot_be_written(data: Path, models: list[dict[str, Any]], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from transformers_foreground.cli import app

    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe_of(models[:1])))
    output = tmp_path / "file/out"
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "tiny.yaml"), "-o", str(output), "--data", str(data)])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {output} cannot be written: ")
    assert "Make room, or choose another folder; the same command keeps what is measured." in done.stderr
    assert (tmp_path / "file").read_text() == "somebody's"


def test_the_command(
    data: Path, models: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer
    from typer.testing import CliRunner

    from transformers_foreground.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps(recipe_of(models)))  # JSON is YAML
    arguments = [str(recipe), "-o", str(tmp_path / "out"), "--data", str(data)]
    done = CliRunner().invoke(app, [*arguments, "--limit", "4", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["scores"][0]["images"] == 4
    (data / "data/im/p1.png").write_bytes(b"no image")
    failed = CliRunner().invoke(app, [*arguments[:2], str(tmp_path / "new"), *arguments[3:], "--part", "1/1"])
    assert failed.exit_code == 1
    assert f"# {escape(TITLE)}" in failed.stdout
    assert CliRunner().invoke(app, [*arguments, "--part", "3/2"]).exit_code == 2
    for wrong in (
        "models: [",
        json.dumps({**recipe_of(models), "modles": []}),
        json.dumps(recipe_of(models, images="no")),
    ):
        recipe.write_text(wrong)
        refused = CliRunner().invoke(app, [*arguments[:2], str(tmp_path / "wrong"), *arguments[3:]])
        assert refused.exit_code == 2, refused.output
        assert "Traceback" not in refused.output


def test_half_precision_models_too(data: Path, tmp_path: Path) -> None:
    both = {"": brightness_model(), "_fp16": brightness_model(half=True)}
    repo = write_repo(tmp_path / "both", dtypes=both)
    recipe = recipe_of([{"id": str(repo), "label": "m", "dtype": ["fp32", "fp16"]}])
    summary = evaluate(recipe, output=tmp_path / "out", data=data, limit=3)
    assert [score.model for score in summary.scores] == ["m fp32", "m fp16"]
    assert summary.scores[0].measures["mae"].value == pytest.approx(summary.scores[1].measures["mae"].value, abs=0.01)
