"""The whole way: simplify, calibrate, search, quantise, evaluate on held-out pictures, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.output import write_whole
from transformers_foreground.quantization.evaluation import Bounds, Figures, Picture, failures, summarise
from transformers_foreground.quantization.pictures import Sample, fingerprint, samples, spread
from transformers_foreground.quantization.plan import Method

FEWEST: Final = 8
TUNING: Final = 12
FORMAT: Final = 1


@dataclass(frozen=True)
class Variant:
    """One quantised graph and its figures.

    Attributes:
        label: How it was made.
        bytes: Its size.
        figures: Over all held-out pictures.
        sets: Figures by set of pictures.
        ratio: fp32's time over its, median of interleaved rounds, and least over least; `None` where not timed.
        unkept: The bounds that it does not keep.
    """

    label: str
    bytes: int
    figures: Figures
    sets: dict[str, Figures]
    ratio: tuple[float, float] | None
    unkept: list[str]


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        path: The file written.
        method: How the graph was quantised.
        chosen: The graph that was written.
        curve: All that were measured, `chosen` among them.
        source_bytes: Size of the fp32 file.
        seconds: fp32's and the chosen graph's least time.
        calibration: Number of pictures to calibrate on and to tune on.
        wide: Tensors with the heaviest tails: name, largest value over the value that it is clipped at.
        float_parts: What was left float by the search.
    """

    path: Path
    method: Method
    chosen: Variant
    curve: list[Variant] = field(default_factory=list)
    source_bytes: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    calibration: tuple[int, int] = (0, 0)
    wide: list[tuple[str, float]] = field(default_factory=list)
    float_parts: list[str] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether the written graph keeps the bounds."""
        return not self.chosen.unkept


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
) -> Outcome:
    """Quantise a model's fp32 file to `onnx/model_int8.onnx`.

    Args:
        model: A folder, or the id of one in `env.local_model_path`.
        images: Folders or datasets to calibrate on; see `pictures.samples`.
        count: How many pictures to calibrate on. As many as 12 more of `images` choose between methods.
        method: How to quantise; `None` chooses the percentile on the tuning pictures.
        keep_float: How many parts of the graph to leave float (the most sensitive by their cost); their names, in a
            list or with commas; or `"auto"`: as many as the tuning pictures need to keep the bounds, at most four.
        evaluate: Folders to evaluate on, with masks or not. None of the pictures above is used again. Nothing given:
            what is left of `images`.
        evaluate_count: Most pictures to take of each.
        curve: Also measure the naive methods and `model_quantized.onnx`, for the report.
        bounds: What the model must keep to be marked as safe.
        output: The file to write, if not the model's `onnx/model_int8.onnx`.
        say: Told what happens, line by line.

    Raises:
        ModelNotFoundError: The model, or its fp32 file, is not on this machine.
        UnsupportedOptionError: Too few pictures, or a model from the Hub's cache without `output`.
    """
    from transformers_foreground.quantization.work import Work

    if isinstance(images, (str, Path)):
        images = [images]
    bounds = bounds or Bounds()
    job = Work(model, output, say)
    wanted = _wanted(keep_float)
    kept = wanted if isinstance(wanted, (int, str)) else job.named(wanted)
    calibration, tuning, left = divide(images, count)
    known = {sample.sha256 for sample in (*calibration, *tuning)}
    held = [s for source in evaluate for s in samples(source, evaluate_count, known)] if evaluate else left
    if not held:
        raise UnsupportedOptionError("No picture is left to evaluate on. Give more, or another folder with --evaluate.")

    say(f"Calibrating on {len(calibration)} pictures.")
    job.calibrate(calibration)
    say(f"Choosing on {len(tuning)} more.")
    chosen, parts = job.choose(tuning, method, kept, bounds)
    say(f"Chosen: {chosen}. Evaluating on {len(held)} held-out pictures.")
    job.compare_on(held)
    data = job.quantised(chosen)
    pictures = job.pictures(data)
    variant = job.variant(str(chosen), data, pictures, bounds)
    record = {
        "format": FORMAT,
        "tool": f"transformers-foreground {job.version}",
        "source": job.source,
        "method": asdict(chosen),
        "float_nodes": job.float_nodes(chosen),
        "calibration": {"pictures": len(calibration), "sha256": fingerprint(calibration)},
        "tuning": {"pictures": len(tuning), "sha256": fingerprint(tuning)},
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


def _wanted(keep_float: int | str | Sequence[str]) -> int | str | Sequence[str]:
    """Return what `keep_float` means: `"auto"`, a number, or a list of names."""
    if not isinstance(keep_float, str) or keep_float == "auto":
        return keep_float
    return int(keep_float) if keep_float.isdecimal() else [n.strip() for n in keep_float.split(",") if n.strip()]


def divide(images: Sequence[str | Path], count: int) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Divide pictures into those to calibrate on, those to choose by, and the rest.

    Raises:
        UnsupportedOptionError: There are too few.
    """
    share = -(-count // len(images)) if images else count
    calibration: list[Sample] = []
    rest: list[list[Sample]] = []
    for source in images:
        found = {sample.sha256: sample for sample in samples(source)}  # one of each, should files be the same
        for sample in calibration:
            found.pop(sample.sha256, None)
        taken = spread(list(found.values()), min(share, max(1, len(found) * 2 // 3)))
        calibration += taken
        hashes = {sample.sha256 for sample in taken}
        rest.append([sample for key, sample in found.items() if key not in hashes])
    if len(calibration) < FEWEST or not any(rest):
        raise UnsupportedOptionError(
            f"{', '.join(map(str, images)) or 'No folder'}: {len(calibration) + sum(map(len, rest))} different "
            f"pictures are too few. Calibration takes {FEWEST} or more, and half as many again choose the method; 32 "
            "and 12 are good."
        )
    tuning = [s for part in rest for s in spread(part, -(-min(TUNING, count // 2) // len(rest)))]
    hashes = {sample.sha256 for sample in tuning}
    return calibration, tuning, [s for part in rest for s in part if s.sha256 not in hashes]


def by_set(pictures: Sequence[Picture]) -> dict[str, Figures]:
    """Group figures by the set that each picture's name begins with."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.name.split("/")[0], []).append(picture)
    return {name: summarise(group) for name, group in groups.items()}


def judged(label: str, data: bytes, pictures: Sequence[Picture], bounds: Bounds) -> Variant:
    """Bring together what was measured of a graph."""
    figures, sets = summarise(pictures), by_set(pictures)
    return Variant(label, len(data), figures, sets, None, failures(figures, list(sets.values()), bounds))


def file_hash(path: Path) -> str:
    """Return a file's SHA-256, in hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


Record = dict[str, Any]
