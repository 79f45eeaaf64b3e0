"""Folders that this package writes, run by the real Transformers.js as they are and by this package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny_models import brightness_model, write_repo

from transformers_foreground import Segmenter, pipeline
from transformers_foreground.hub.known_models import known_models
from transformers_foreground.hub.transformers_js import config_json, preprocessor_json

# Of the known models' keys, those of which Transformers.js knows nothing: its masks are others, by intent.
OWN_KEYS = {"rescale_to_max", "min_max"}


def write_folders(top: Path) -> dict[str, bool]:
    """Write folders as `save_pretrained` does, and with the JSON files that `foreground models fetch` gives each model.

    Args:
        top: Where.

    Returns:
        Id of each to whether Transformers.js' masks must be the same.
    """
    graphs = {"": brightness_model(size=None)}
    found = {}
    for model_type in ("SegformerForSemanticSegmentation", "custom", "birefnet", None):
        source = write_repo(
            top / "source", dtypes=graphs, config={"model_type": model_type} if model_type else {}, size=96
        )
        name = f"saved/{model_type or 'untyped'}"
        with Segmenter(source) as segmenter:
            segmenter.save_pretrained(top / name)
        found[name] = True
    for known in known_models():
        name = f"fetched/{known.id.replace('/', '-')}"
        config = config_json({"model_type": known.model_type, "_name_or_path": known.id})
        write_repo(top / name, dtypes=graphs, config=config, preprocessor=preprocessor_json(known.preprocessor))
        found[name] = not OWN_KEYS & known.preprocessor.keys()
    return found


def check_folders(work: Path, seed: int) -> bool:
    """Run both over an image made from a seed, and print what differs; returns whether nothing does.

    Args:
        work: Where npm installed Transformers.js.
        seed: What the image is drawn from.
    """
    top = work / "folders"
    shutil.rmtree(top, ignore_errors=True)
    comparable = write_folders(top)
    pixels = np.random.default_rng(seed).integers(0, 256, (61, 87, 3), np.uint8)
    Image.fromarray(pixels).save(top / "image.png")
    problems = []
    for task in ("image-segmentation", "background-removal"):
        for name, theirs in zip(comparable, _theirs(work, top, task, list(comparable)), strict=True):
            if theirs.startswith("error: "):
                problems.append(f"{task}, {name}: Transformers.js cannot run it: {theirs[7:]}")
            elif comparable[name] and theirs != _ours(top / name, top / "image.png", task):
                problems.append(f"{task}, {name}: DIFFERENT")
    for problem in problems:
        print(problem)
    print(f"written folders: {len(comparable)} run as they are in both tasks, {len(problems)} problems")
    return not problems


def _theirs(work: Path, top: Path, task: str, names: list[str]) -> list[str]:
    job, out = top / "job.json", top / "results.json"
    content: dict[str, Any] = {"work": str(work), "models": f"{top}{os.sep}", "task": task, "names": names}
    job.write_text(json.dumps({**content, "image": str(top / "image.png"), "out": str(out)}))
    subprocess.run(["node", str(Path(__file__).with_suffix(".mjs")), str(job)], check=True)
    results: list[str] = json.loads(out.read_text())
    return results


def _ours(folder: Path, image: Path, task: str) -> str:
    with pipeline(task, folder) as segmenter:
        result = segmenter(image)
    mask = result[0]["mask"] if isinstance(result, list) else result.getchannel("A")
    return hashlib.sha256(mask.tobytes()).hexdigest()
