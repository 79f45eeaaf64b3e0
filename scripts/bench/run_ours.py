"""Worker: this package, by what its command runs, on its defaults.

`run_ours.py MODEL DEVICE DTYPE [WORKERS]`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from protocol import serve

from transformers_foreground import __version__
from transformers_foreground.cli import running, use_one_heap
from transformers_foreground.cli.planning import Job
from transformers_foreground.cli.style import Style
from transformers_foreground.segmenter import Segmenter


def main() -> None:
    """Load the model as `foreground cutout` does, and serve."""
    use_one_heap()
    model, device, dtype, *workers = sys.argv[1:]
    if workers:
        running.run = functools.partial(running.run, workers=int(workers[0]))
    loaded = Segmenter(model, device=device, dtype=dtype, strict=True).open()

    def run(jobs: Sequence[Job]) -> None:
        for outcome in running.run(loaded, jobs, Style(), force=True):
            if isinstance(outcome, Exception):
                raise outcome

    def cutout(source: str, target: str) -> None:
        run([Job(source, Path(target))])

    def folder(sources: Sequence[str], target: str) -> None:
        run([Job(source, Path(target) / f"{Path(source).stem}.png") for source in sources])

    provider = loaded.graph.session.get_providers()[0]
    ort = "openvino" if provider.startswith("OpenVINO") else "onnxruntime"
    versions = {"transformers-foreground": __version__, ort: version(ort), "pillow": version("pillow")}
    serve(cutout, folder, {"versions": versions, "provider": provider, "file": loaded.files.onnx.name})


main()
