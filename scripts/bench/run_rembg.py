"""Worker: rembg with a given ONNX file and IS-Net's preprocessing. `run_rembg.py MODEL.onnx`; needs U2NET_HOME.

What it does with an image is what `rembg p` does with each: read the bytes, `remove`, write the bytes.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

# First: rembg must not find this folder's modules in place of its own.
sys.path.append(sys.path.pop(0))
from protocol import serve
from rembg import new_session, remove


def main() -> None:
    """Open the session that `rembg i -m dis_custom` opens, and serve."""
    # rembg takes models from its own folder only; a link is enough.
    model = Path(os.environ["U2NET_HOME"]) / Path(sys.argv[1]).name
    session = new_session("dis_custom", model_path=str(model))

    def cutout(source: str, target: str) -> None:
        Path(target).write_bytes(remove(Path(source).read_bytes(), session=session))

    # Under this name, too, what is installed may be onnxruntime-openvino.
    runtime = packages_distributions()["onnxruntime"][0]
    serve(cutout, about={"versions": {name: version(name) for name in ("rembg", runtime, "pillow")}})


main()
