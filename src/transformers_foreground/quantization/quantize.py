"""All steps: simplify, calibrate, choose, quantise, evaluate on held-out images, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.env import __version__, env
from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.extras import need
from transformers_foreground.quantization.figures import Bounds
from transformers_foreground.quantization.outcome import Outcome, Track
from transformers_foreground.quantization.plan import Method
from transformers_foreground.quantization.quantizer import Quantizer
from transformers_foreground.quantization.samples import Sample, fingerprint, samples, spread

FEWEST: Final = 8  # images to calibrate on
TUNING: Final = 12  # most images to choose by
FORMAT: Final = 1  # of the record in the file's metadata


def quantize(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    count: int = 32,
    method: Method | None = None,
    keep_float: int | str | Sequence[str] = "auto",
    evaluate: Sequence[str | Path] = (),
    evaluate_count: int | None = None,
    curve: bool = False,
    bounds: Bounds | None = None,
    output: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    track: Track = lambda stage, total: lambda: None,
    progress_callback: Any = None,
) -> Outcome:
    """Quantise a model's fp32 file to `onnx/model_int8.onnx`.

    The images are checked first; then the model is downloaded, if need be.

    Args:
        model: Repository id or folder.
        images: Folders or datasets to calibrate on; see `samples.samples`.
        count: How many images to calibrate on. Up to 12 more of `images` are used to choose the method.
        method: How to quantise; by default the percentile is chosen on those images.
        keep_float: How many parts of the graph to leave float (those that gain most for their cost); their names, as a
            list or separated by commas; or `"auto"`: as many as are needed to keep the bounds, at most four.
        evaluate: Folders to evaluate on, with or without masks; images that were used above are left out. By default
            the rest of `images`.
        evaluate_count: Most images to take of each folder, or of the rest.
        curve: Also measure simpler methods and `model_quantized.onnx`, for the report.
        bounds: Limits that the model must keep to be marked as safe.
        output: The file to write; by default the model's `onnx/model_int8.onnx`. Needed for a model of the Hub.
        say: Called with each line of progress.
        track: Called with the name of each long stage and its number of images; returns a function that is called after
            each image.
        progress_callback: Called with each step of a download; see `hub.progress`.

    Raises:
        ModelNotFoundError: The model, or its fp32 file, is not found.
        UnsupportedOptionError: Too few images, a folder that is not there, or a model of the Hub without `output`.
        ImageError: An image or a mask cannot be read, or a mask has another size than its image.
        MissingExtraError: There are masks to judge by, and pysodmetrics is not installed.
    """
    if isinstance(images, (str, Path)):
        images = [images]
    bounds = bounds or Bounds()
    wanted = _wanted(keep_float)
    _check_target(model, output)
    calibration, tuning, left = divide(images, count)
    known = {sample.sha256 for sample in (*calibration, *tuning)}
    held = [sample for source in evaluate for sample in samples(source, evaluate_count, known)]
    if not evaluate:
        held = spread(left, evaluate_count)
    if len(held) < bounds.images:
        raise UnsupportedOptionError(
            f"{len(held)} images are left to judge the result by, and {bounds.images} are needed, beside "
            f"{len(calibration)} to calibrate on and {len(tuning)} to choose by. Give {bounds.images - len(held)} more "
            "with --images, or a folder of others with --evaluate."
        )
    masked = [sample for sample in held if sample.truth]
    if masked:
        need("py_sod_metrics", "eval", "Judging by true masks (a folder gt beside im)")
    for sample in masked:  # one that cannot be used is refused now, and not after hours
        sample.ground_truth(*sample.read().shape[:2])

    job = Quantizer(model, output, say, track, progress_callback)
    kept = wanted if isinstance(wanted, (int, str)) else job.named(wanted)
    say(f"Calibrating on {len(calibration)} images.")
    job.calibrate(calibration)
    say(f"Choosing on {len(tuning)} more.")
    chosen, parts = job.choose(tuning, method, kept, bounds)
    say(f"Chosen: {chosen}. Evaluating on {len(held)} held-out images.")
    job.compare_on(held)
    data = job.quantised(chosen)
    measured = job.images(data)
    variant = job.variant(str(chosen), data, measured, bounds)
    record = {
        "format": FORMAT,
        "tool": f"transformers-foreground {__version__}",
        "source": job.source,
        "method": asdict(chosen),
        "float_nodes": job.float_nodes(chosen),
        "calibration": {"images": len(calibration), "sha256": fingerprint(calibration)},
        "tuning": {"images": len(tuning), "sha256": fingerprint(tuning)},
        "held_out": {"sha256": fingerprint(held), "sets": {k: v.to_dict() for k, v in variant.sets.items()}},
        "measured": variant.figures.to_dict(),
        "bounds": asdict(bounds),
        "unkept": variant.unkept,
        "safe": not variant.unkept,
    }
    write_whole(job.target, job.with_record(data, record))
    say(f"Wrote {job.target}.")
    seconds, ratio = job.time(data)
    timed = replace(variant, ratio=ratio, bytes=job.target.stat().st_size)
    others = job.curve(chosen, parts, bounds) if curve else []
    return Outcome(
        path=job.target,
        method=chosen,
        chosen=timed,
        curve=[*others, timed],
        source_bytes=int(job.source["bytes"]),
        seconds=seconds,
        calibration=(len(calibration), len(tuning)),
        wide=job.widest(chosen),
        float_parts=parts,
    )


def _check_target(model: str | Path, output: str | Path | None) -> None:
    """Refuse, before anything is downloaded, to write into the Hub's cache or over a folder."""
    if output is None and not any(Path(place).is_dir() for place in (model, Path(env.local_model_path) / model)):
        raise UnsupportedOptionError(
            f"{model} is not a folder here; it comes from the Hub, whose cache should not be written to. Say where to "
            "write: --output model_int8.onnx, for example."
        )
    if output is not None and Path(output).is_dir():
        raise UnsupportedOptionError(f"{output} is a folder: give the file to write.")


def _wanted(keep_float: int | str | Sequence[str]) -> int | str | Sequence[str]:
    """Return `keep_float` as `"auto"`, a number, or a list of names."""
    if not isinstance(keep_float, str) or keep_float == "auto":
        return keep_float
    return int(keep_float) if keep_float.isdecimal() else [n.strip() for n in keep_float.split(",") if n.strip()]


def divide(images: Sequence[str | Path], count: int) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Divide images into those to calibrate on, those to choose by, and the rest.

    Raises:
        UnsupportedOptionError: There are too few.
    """
    share = -(-count // len(images)) if images else count
    calibration: list[Sample] = []
    rest: list[list[Sample]] = []
    for source in images:
        found = {sample.sha256: sample for sample in samples(source)}  # equal files count once
        for sample in calibration:
            found.pop(sample.sha256, None)
        taken = spread(list(found.values()), min(share, max(1, len(found) * 2 // 3)))
        calibration += taken
        hashes = {sample.sha256 for sample in taken}
        rest.append([sample for key, sample in found.items() if key not in hashes])
    if len(calibration) < FEWEST or not any(rest):
        raise UnsupportedOptionError(
            f"{', '.join(map(str, images)) or 'No folder'}: {len(calibration) + sum(map(len, rest))} different "
            f"images are too few. Calibration needs {FEWEST} or more, and choosing the method half as many again; "
            "32 and 12 are good. Add images with --images."
        )
    tuning = [s for part in rest for s in spread(part, -(-min(TUNING, count // 2) // len(rest)))]
    hashes = {sample.sha256 for sample in tuning}
    return calibration, tuning, [s for part in rest for s in part if s.sha256 not in hashes]
