"""Write docs/conformance.md: our masks against the recorded oracle, our calls against Transformers.js'."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import transformers
from conformance_files import FILE_KINDS
from file_exceptions import FILE_EXCEPTIONS, WORKS_HERE, exception_for, recorded_files
from kinds import EXCEPTIONS, images_of, records
from option_table import DIFFERS, REFUSED, SAME, STRICTER, TABLE, WORKS, Bench, Outcome, recorded, verdict_of
from oracle import CMYK, CMYK_LEVELS, DTYPES, ORACLE, Difference, lay_out, manifest, recorded_mask, run_stages, sha256
from rawimage_table import LINES

from transformers_foreground import __version__, env, pipeline

HEAD = f"""# Conformance with Transformers.js

<!-- Written by `python scripts/conformance.py --docs`: change that, not this. -->

What @huggingface/transformers 4.3.2 gave in Node 20, and what transformers-foreground {__version__} gives. Node's masks
were recorded once; ours were made when this page was written, and `tests/conformance/` makes them again at every test
run. `make conformance SEED=7` compares with the real Transformers.js, on images made afresh.

- [Image by image](#image-by-image)
- [File by file](#file-by-file)
- [On images made afresh](#on-images-made-afresh)
- [Config by config](#config-by-config)
- [Call by call](#call-by-call)
- [RawImage's methods in Python](#rawimages-methods-in-python)
"""

IMAGES = f"""
## Image by image

IS-Net (general use), laid out as briaai/RMBG-1.4 and loaded with `{{config: {{model_type: "isnet"}}}}`, since
Transformers.js 4 refuses that repository's own `model_type`. The sizes are those of the decoded image, upright;
the hashes are the first ten digits of the sha256 of the mask's bytes. *identical* means that the decoded pixels,
`pixel_values`, the model's output, its 8-bit mask and the final mask are Node's to the last bit.

Another CPU may round the forward pass differently. The tests then allow ±1 level on 0.1 % of the pixels (q8: an IoU of
0.99); the stages before it must still be the same. `{CMYK}` has no colour profile: libvips uses one that is
built into it and that is not ours to ship. A polynomial fitted to it stands for it here: pixels are up to 10 levels
off, and the mask, most where the model is in doubt, by up to {CMYK_LEVELS}.
"""

FILES = """
## File by file

Of {files} files of every kind that cameras and editors write (modes, bit depths, containers, ICC profiles,
orientations, animations, odd sizes), Transformers.js reads {read}. `tests/conformance/test_kinds_files.py` finds
pixels, input and mask of {same} identical. Of the {refused} that it refuses, {works} work here, and the others, damaged
ones and JPEG XL, are refused. Where "byte for byte" ends, and by how many of 255 levels it may differ there:

| files | pixels, at most | on average | mask, at most | why |
|---|---|---|---|---|
"""

FRESH = """
## On images made afresh

`make conformance SEED=1` has npm install the real Transformers.js and runs both over what it makes from the seed:
rendered images in random sizes, modes, formats and orientations, with IS-Net; {kinds} kinds of files and 300
preprocessor configs, with tiny graphs. It also makes the calls below there, and runs the folders that this package
writes. It needs Node 18 or newer and the network once. An animated GIF whose later frames are transparent has an opaque
alpha there, and none here. The last tables:
"""

CONFIGS = """
## Config by config

What a `preprocessor_config.json` says is honoured with Transformers.js' arithmetic. Of {configs} models, each with
another config or graph, {masks} give masks there, of {images} images; `tests/conformance/test_kinds_configs.py` finds
the pixel values and masks identical, but for {exceptions} models that are refused here. `make conformance` draws 300
more configs from its seed.

| model | what Transformers.js gives | here |
|---|---|---|
"""

CALLS = f"""
## Call by call

Both sides have a tiny model in place of RMBG-1.4, in fp32, fp16 and q8, and no network. `id` is `"briaai/RMBG-1.4"`;
`load(task, options)` is `pipeline(task, id, options)`, in JavaScript also with `config: {{model_type: "isnet"}}`;
`file_of(options)` is the ONNX file that is loaded with these options; `segmenter` and `remover` are pipelines for
image-segmentation and background-removal; `files` are paths of small images. Every row is a test in
`tests/conformance/test_options.py`; what Transformers.js made of it is in `tests/conformance/recorded.json`.

- **{SAME}**: the same value.
- **{REFUSED}**: both raise; our message says what would be right.
- **{WORKS}**: Transformers.js raises, and need not.
- **{STRICTER}**: Transformers.js takes it.
- **{DIFFERS}**: another value, on purpose.
"""

METHODS = """
## RawImage's methods in Python

Masks and cut-outs are PIL images here. Every line is run by `tests/conformance/test_options.py`, and compared with the
pixels that Transformers.js gave where those were recorded.

| RawImage | Python | |
|---|---|---|
"""


def write(path: Path, model: Path, tables: Sequence[Path]) -> None:
    """Make all tables and write the page.

    Args:
        path: The page.
        model: Folder of IS-Net.
        tables: What `make conformance` kept, by seed.
    """
    transformers.logging.set_verbosity_error()
    fresh = [f"\n```\n{table.read_text(encoding='utf-8')}```\n" for table in tables]
    text = "".join(
        [
            HEAD,
            IMAGES,
            *_images(model),
            *_files(),
            FRESH.format(kinds=len(FILE_KINDS)),
            *fresh,
            *_configs(),
            CALLS,
            *_calls(),
            METHODS,
            *_methods(),
        ]
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


def _images(model: Path) -> Iterator[str]:
    """Make the masks, and a table for each dtype."""
    with tempfile.TemporaryDirectory() as top:
        lay_out(model, Path(top))
        env.local_model_path, env.allow_remote_models = top, False
        for dtype in DTYPES:
            yield f"\n### {dtype}\n\n| image | size | Transformers.js | here | verdict |\n|---|---|---|---|---|\n"
            with pipeline("image-segmentation", "briaai/RMBG-1.4", dtype=dtype) as segmenter:
                for name, node in manifest(dtype).items():
                    if (ORACLE / "images" / name).is_file():
                        print(f"{dtype} {name}", flush=True)
                        yield _image(segmenter, name, node, dtype)


def _image(segmenter: Any, name: str, node: dict[str, Any], dtype: str) -> str:
    ours = run_stages(segmenter, ORACLE / "images" / name)
    here, size = f"`{sha256(ours.mask)[:10]}`", "×".join(map(str, ours.size))
    if "error" in node["segmentation"]:
        return _line(f"`{name}`", size, node["segmentation"]["error"], here, f"**{WORKS}**")
    there = node["segmentation"]["mask"]["sha256"]
    stages = [
        ours.decoded == node["decoded"]["sha256"],
        ours.pixel_values == node["pixel_values"]["sha256"],
        ours.raw_output == node["raw_output"]["sha256"],
        ours.mask_model == node["mask_model"]["sha256"],
        sha256(ours.mask) == there,
    ]
    verdict = "identical"
    if not all(stages):
        d = Difference.between(ours.mask, recorded_mask(name, f"node/{dtype}"))
        verdict = f"up to {d.levels} levels, on {d.share:.2%} of the pixels; IoU {d.iou:.5f}"
    return _line(f"`{name}`", size, f"`{there[:10]}`", here, verdict)


def _files() -> Iterator[str]:
    """Say how many kinds of files were recorded, and make a table of those that differ."""
    files = recorded_files()
    read = [name for name, node in files.items() if "error" not in node]
    yield FILES.format(
        files=len(files),
        read=len(read),
        same=sum(exception_for(name) is None for name in read),
        refused=len(files) - len(read),
        works=len(WORKS_HERE),
    )
    for known in FILE_EXCEPTIONS:
        names = ", ".join(f"`{name}`" for name in known.names)
        levels = ("refused", "", "") if known.levels is None else map(str, (known.levels, known.mean, known.mask))
        yield _line(names, *levels, known.reason)


def _configs() -> Iterator[str]:
    """Say how many configs were recorded, and make a table of those that are refused."""
    masks = [sum("mask" in image for _, _, image in images_of(record)) for record in records().values()]
    counts = {
        "configs": len(masks),
        "masks": sum(map(bool, masks)),
        "images": sum(masks),
        "exceptions": len(EXCEPTIONS),
    }
    yield CONFIGS.format(**counts)
    for name, exception in EXCEPTIONS.items():
        yield _line(f"`{name}`", exception.why, f"refused: {exception.error}")


def _calls() -> Iterator[str]:
    """Make our calls, and a table for each section."""
    theirs = recorded()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for section, rows in TABLE.items():
            yield f"\n### {section}\n\n| JavaScript | gives | Python | gives | verdict |\n|---|---|---|---|---|\n"
            for row in rows:
                ours = bench.run(row.python)
                verdict = f"**{verdict_of(theirs[row.js], ours)}**" + (f". {row.note}" if row.note else "")
                yield _line(_code(row.js), _outcome(theirs[row.js]), _code(row.python), _outcome(ours), verdict)


def _methods() -> Iterator[str]:
    for line in LINES:
        yield _line(_code(line.js), _code(line.python), line.note)


def _outcome(outcome: Outcome) -> str:
    """Put a value as code, and an error's text as it is but for a list or an image that would fill the page."""
    text = re.sub(r"(data:image/png;base64,.{8})[^\"' ]*", r"\1…", outcome.text)
    text = re.sub(r"\[text-classification,.*\]", "[…]", text)
    return text.replace("<", "&lt;").replace("|", "\\|") if outcome.failed else _code(text)


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
