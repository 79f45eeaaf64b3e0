"""Worker: bare `session.run` on values prepared beforehand; the floor. `run_bare.py MODEL.onnx THREADS`."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime as ort
from protocol import serve


def main() -> None:
    """Open a session as ONNX Runtime's own documentation does, and run it on whatever is asked for."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(sys.argv[2])
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    first, output = session.get_inputs()[0], session.get_outputs()[0].name
    shape = [dim if isinstance(dim, int) else 1 for dim in first.shape]
    values = np.random.default_rng(0).random(shape, np.float32) - np.float32(0.5)
    serve(
        lambda _, __: session.run([output], {first.name: values}),
        about={"versions": {"onnxruntime": ort.__version__}},
    )


main()
