"""The peers: how pip or npm installs each, and how it is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "bench"
MODEL = ROOT / "models" / "imgly" / "isnet-general-use"
MODEL_ID = "briaai/RMBG-1.4"  # what Transformers.js is told, since IS-Net is laid out as this for it

REMBG = "rembg[cpu,cli]==2.0.86"
REMBG_OPENVINO = "onnxruntime-openvino==1.24.1"
TRANSFORMERS_JS = {"@huggingface/transformers": "4.3.2"}
IMGLY = {"@imgly/background-removal-node": "1.4.5"}
IMGLY_SHARP = "0.33.5"
JS = {"transformers": "transformers.js", "imgly": "imgly"}
PREPROCESSOR = {
    "feature_extractor_type": "ImageFeatureExtractor",
    "do_pad": False,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [1, 1, 1],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"width": 1024, "height": 1024},
}
"""RMBG-1.4's own, which is IS-Net's too."""


class CannotInstallError(Exception):
    """A peer cannot be installed here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """Something to measure.

    Attributes:
        name: As in the tables.
        what: What it is and runs, for the report.
        command: Starts its worker.
        once: Starts it for one image, from nothing, as a user would; `{input}` and `{output}` are replaced.
        environment: Variables beside the usual ones.
        ours: Whether it is this package.
        low: Whether it runs in reduced precision.
        floor: Whether it is the bare session.
    """

    name: str
    what: str
    command: Sequence[str]
    once: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    low: bool = False
    floor: bool = False


@dataclass(frozen=True)
class Setup:
    """Settings from the command line.

    Attributes:
        model: IS-Net's folder, laid out as on the Hub.
        threads: Threads for each peer.
    """

    model: Path
    threads: int

    @property
    def onnx(self) -> Path:
        """The fp32 graph that all run."""
        return self.model / "onnx" / "model.onnx"


def ours(setup: Setup, name: str, device: str, dtype: str) -> Peer:
    """This package, at one dtype on one device; `decontaminate` and all else are its command's defaults."""
    tail = ["--model", str(setup.model), "--device", device, "--dtype", dtype, "--force", "--quiet"]
    return Peer(
        f"ours {name}",
        f"this package, device={device!r}, dtype={dtype!r}" + (": the command's defaults" if name == "auto" else ""),
        [sys.executable, str(HERE / "run_ours.py"), str(setup.model), device, dtype],
        [
            sys.executable,
            "-c",
            "from transformers_foreground.cli import main; main()",
            "{input}",
            "-o",
            "{output}",
            *tail,
        ],
        {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"},
        ours=True,
        low=dtype != "fp32",
    )


def bare(setup: Setup) -> Peer:
    """ONNX Runtime alone, without an image."""
    command = [sys.executable, str(HERE / "run_bare.py"), str(setup.onnx), str(setup.threads)]
    return Peer(
        "bare session", "`session.run` alone on values prepared beforehand, fp32: the floor", command, floor=True
    )


def rembg(setup: Setup, engine: str = "cpu") -> Peer:
    """Install rembg in a venv of its own; it gets the same ONNX file, with IS-Net's preprocessing (`dis_custom`).

    Args:
        setup: Model and threads.
        engine: "cpu" for its extra of that name; "openvino" for ONNX Runtime with the OpenVINO provider, which it takes
            by itself where it is installed, in the precision that OpenVINO chooses.
    """
    name = "rembg" if engine == "cpu" else f"rembg {engine}"
    packages = [REMBG] if engine == "cpu" else [REMBG.replace("[cpu,", "["), REMBG_OPENVINO]
    venv, home = WORK / name.replace(" ", "-"), WORK / "rembg-home"
    binary, done = venv / "bin" / "rembg", venv / "installed"
    if not done.exists() or done.read_text() != " ".join(packages):
        _run([sys.executable, "-m", "venv", str(venv)], "python -m venv")
        _run([str(venv / "bin" / "pip"), "install", "--quiet", *packages], "pip install")
        done.write_text(" ".join(packages))
    home.mkdir(parents=True, exist_ok=True)
    link = home / setup.onnx.name
    link.unlink(missing_ok=True)
    link.symlink_to(setup.onnx)
    extras = json.dumps({"model_path": str(link)})
    what = f"`pip install '{' '.join(packages)}'`; session `dis_custom` with the same fp32 file"
    return Peer(
        name,
        f"{what}; `remove(bytes)` as `rembg p` calls it",
        [str(venv / "bin" / "python"), str(HERE / "run_rembg.py"), str(setup.onnx)],
        [str(binary), "i", "-m", "dis_custom", "-x", extras, "{input}", "{output}"],
        {"U2NET_HOME": str(home), "OMP_NUM_THREADS": str(setup.threads), "MODEL_CHECKSUM_DISABLED": "1"},
        low=engine != "cpu",
    )


def transformers_js(setup: Setup) -> Peer:
    """Install Transformers.js, and lay IS-Net out as RMBG-1.4 is on the Hub."""
    folder, models = WORK / "transformers-js", WORK / "transformers-js" / "models"
    _npm(folder, TRANSFORMERS_JS)
    target = models / MODEL_ID
    (target / "onnx").mkdir(parents=True, exist_ok=True)
    link = target / "onnx" / "model.onnx"
    link.unlink(missing_ok=True)
    link.symlink_to(setup.onnx)
    (target / "config.json").write_text(json.dumps({"model_type": "isnet"}))
    (target / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    job = {"models": f"{models}/", "model": MODEL_ID, "threads": setup.threads}
    what = f"`@huggingface/transformers@{TRANSFORMERS_JS['@huggingface/transformers']}` on Node; pipeline "
    return _js("transformers", folder, job, what + "`background-removal`, the same fp32 file, `image.save()`")


def imgly(_: Setup) -> Peer:
    """Install imgly's package; it brings its own model, the same network in fp16."""
    folder = WORK / "imgly"
    # Its sharp downloads its binary from GitHub; a version whose binary npm carries is put in its place.
    _npm(folder, IMGLY, overrides={"sharp": IMGLY_SHARP})
    name = f"@imgly/background-removal-node@{IMGLY['@imgly/background-removal-node']}"
    what = f"`{name}` on Node; its own model `medium` (IS-Net in fp16), session options and PNG (a palette of 256 "
    what += f"colours); sharp {IMGLY_SHARP} by npm's `overrides`, as its own needs GitHub"
    return _js("imgly", folder, {}, what)


def _js(which: str, folder: Path, job: Mapping[str, Any], what: str) -> Peer:
    files = {}
    for once in (False, True):
        path = folder / f"job{'-once' * once}.json"
        path.write_text(json.dumps({"which": which, "folder": str(folder), "once": once, **job}))
        files[once] = path
    runner = ["node", str(HERE / "run_js.mjs")]
    return Peer(JS[which], what, [*runner, str(files[False])], [*runner, str(files[True]), "{input}", "{output}"])


def _npm(folder: Path, packages: Mapping[str, str], overrides: Any = None) -> None:
    """Install npm packages into a folder, unless they are there.

    Install scripts do not run: onnxruntime-node's would download libraries for CUDA; for the CPU all is in the package.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise CannotInstallError("Node or npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"name": "bench", "private": True, "dependencies": dict(packages), "overrides": overrides or {}}
    manifest = folder / "package.json"
    done = folder / "installed"
    if done.exists() and json.loads(manifest.read_text()) == content:
        return
    manifest.write_text(json.dumps(content))
    _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], "npm install", cwd=folder)
    done.touch()


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> None:
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        error = next((line for line in lines if "Error:" in line), lines[-1] if lines else f"exit {done.returncode}")
        raise CannotInstallError(f"`{what}` failed: {error.strip()}")


def environment(peer: Peer) -> dict[str, str]:
    """Return a worker's environment: this one, without what would slow numpy, plus the peer's own."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, **peer.environment}


def all_peers(setup: Setup) -> tuple[list[Peer], dict[str, str]]:
    """Install the peers; return those that can be measured here, and why the others cannot."""
    found, missing = [bare(setup)], {}
    rembg_openvino = partial(rembg, engine="openvino")
    for install, name in (
        (rembg, "rembg"),
        (rembg_openvino, "rembg openvino"),
        (transformers_js, "transformers.js"),
        (imgly, "imgly"),
    ):
        try:
            found.append(install(setup))
        except (CannotInstallError, OSError) as error:
            missing[name] = str(error)
    found += [ours(setup, "auto", "auto", "auto"), ours(setup, "fp32", "cpu", "fp32")]
    if (setup.model / "onnx" / "model_int8.onnx").exists():
        found.append(ours(setup, "int8-checked", "auto", "int8-checked"))
    else:
        missing["ours int8-checked"] = "the model has no onnx/model_int8.onnx: make it with `foreground quantize`"
    return found, missing
