"""What a session does with memory, and in a forked process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import brightness_model

from transformers_foreground.runtime.graphs import graph_of
from transformers_foreground.runtime.sessions import create_session, forward

SHRINKAGE = "memory.enable_memory_arena_shrinkage"


class Spy:
    """A session that remembers with what options it was run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.shrunk: list[bool] = []

    def run(self, outputs: Any, inputs: Any, options: Any = None) -> Any:
        self.shrunk.append(options is not None and options.get_run_config_entry(SHRINKAGE) == "cpu:0")
        return self._session.run(outputs, inputs, options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("size", "arena", "expected"), [(None, True, [False, True, False]), (None, False, [False] * 3), (32, True, [False])]
)
def test_memory_of_large_runs_is_given_back(
    tmp_path: Path, size: int | None, arena: bool, expected: list[bool]
) -> None:
    """Where sizes change; a graph of one size needs the same memory again."""
    import onnxruntime as ort

    onnx.save(brightness_model(size=size), tmp_path / "model.onnx")
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = arena
    spy = Spy(create_session(tmp_path / "model.onnx", ["CPUExecutionProvider"], [{}], options))
    graph = graph_of(spy, tmp_path)  # type: ignore[arg-type]
    for side in (32, 1056, 64)[: len(expected)]:
        alpha = forward(graph, np.zeros((1, 3, side, side), np.float32))
        assert alpha.shape == (1, 1, side, side)
    assert spy.shrunk == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_a_session_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's may hold locks for ever there, if another thread used it when the process was forked."""
    import onnxruntime as ort

    onnx.save(brightness_model(), tmp_path / "model.onnx")
    session = create_session(tmp_path / "model.onnx", ["CPUExecutionProvider"], [{}], ort.SessionOptions())
    graph = graph_of(session, tmp_path / "model.onnx")
    pixels = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    wanted = forward(graph, pixels)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            monkeypatch.setattr(session, "run", None)
            first, second = forward(graph, pixels), forward(graph, pixels)
            status = 7 if np.array_equal(first, wanted) and np.array_equal(second, wanted) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert np.array_equal(forward(graph, pixels), wanted)
