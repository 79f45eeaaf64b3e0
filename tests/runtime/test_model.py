"""A model's files and session: what is saved, hashed, moved and submitted."""

from __future__ import annotations

import gc
import hashlib
import json
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_repo

from transformers_foreground.errors import ForegroundError
from transformers_foreground.segmenter import Segmenter


def test_save_pretrained_keeps_the_config_but_for_what_points_at_code(tmp_path: Path) -> None:
    config = {"model_type": "birefnet", "hidden": 7, "auto_map": {"AutoModel": "evil.py"}, "custom_pipelines": {}}
    with Segmenter(write_repo(tmp_path / "model", config=config)) as segmenter:
        segmenter.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text()) == {"model_type": "birefnet", "hidden": 7}


def test_sha256_is_of_the_file(tmp_path: Path) -> None:
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        assert segmenter.sha256 == (hashlib.sha256(segmenter.files.onnx.read_bytes()).hexdigest(),)
        assert segmenter.sha256 is segmenter.sha256  # hashed once


def test_to_the_same_provider_keeps_the_session(tmp_path: Path) -> None:
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        session = segmenter.graph.session
        segmenter.to("wasm")
        assert segmenter.graph.session is session
        assert segmenter.device.name == "wasm"


def test_submit_gives_what_a_call_gives(tmp_path: Path) -> None:
    image = np.zeros((9, 7, 3), np.uint8)
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        submitted = segmenter.submit(image).result()
        np.testing.assert_array_equal(submitted.mask, segmenter(image).mask)
        assert submitted.image.width == 7


def test_open_gives_the_model_itself_and_dispose_ends_its_queue(tmp_path: Path) -> None:
    segmenter = Segmenter(write_repo(tmp_path / "model"))
    assert segmenter.open() is segmenter
    image = np.zeros((9, 7, 3), np.uint8)
    segmenter.submit(image).result()
    queue = segmenter.queue
    segmenter.dispose()
    with pytest.raises(ForegroundError, match="disposed"):
        queue.submit(image, segmenter.steps())


def test_the_seconds_of_a_batch_are_shared_out(tmp_path: Path) -> None:
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        batch = [segmenter.prepare(np.zeros((9, 7, 3), np.uint8)) for _ in range(4)]
        started = time.perf_counter()
        ran = segmenter.run(batch)
        took = time.perf_counter() - started
    assert len({one.seconds for one in ran}) == 1
    assert 0 < sum(one.seconds for one in ran) <= took


def test_after_a_with_block_the_session_is_gone(tmp_path: Path) -> None:
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        session = weakref.ref(segmenter.graph.session)
    gc.collect()
    assert session() is None
    with pytest.raises(ForegroundError, match="disposed"):
        segmenter(np.zeros((9, 7, 3), np.uint8))


def test_a_stream_reads_its_items(tmp_path: Path) -> None:
    image = np.zeros((9, 7, 3), np.uint8)
    with Segmenter(write_repo(tmp_path / "model")) as segmenter:
        steps = segmenter.steps(read=lambda _: image, then=lambda item, foreground: (item, foreground.mask.shape))
        assert list(segmenter.stream(["a", "b"], steps)) == [("a", (9, 7)), ("b", (9, 7))]
