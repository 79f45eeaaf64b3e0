"""The sections of scripts/reliability on small input, and random damage by hypothesis."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_models import write_repo

from transformers_foreground.errors import ImageError
from transformers_foreground.images.decode import DecodedImage, decode

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts/reliability"
linux = pytest.mark.skipif(sys.platform != "linux", reason="scripts/reliability reads /proc and sets Linux's limits")


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_repo(tmp_path / "model")
    return str(tmp_path / "model")


@linux
def test_hostile_and_broken_images(tmp_path: Path, model: str) -> None:
    """Each gives a mask of its size or an error that names it, within 6 GB."""
    import damage

    found = damage.images(tmp_path, model, 150, seed=7)
    assert found["corpus"]["mask"] >= 30
    assert found["corpus"]["error"] >= 80
    assert found["corpus"]["peak"] < 3000
    assert found["mutations"]["count"] == 150


@linux
def test_what_is_no_file_or_goes_away(tmp_path: Path, model: str) -> None:
    import damage

    found = damage.files(tmp_path, model)
    assert found["mask"] >= 100
    assert found["error"] >= 3


@linux
def test_killed_and_resumed(tmp_path: Path, model: str) -> None:
    import batches

    assert batches.kills(tmp_path, model, count=20, times=2, seed=3)["temporary"] == 0


@linux
def test_disks_that_take_nothing(tmp_path: Path, model: str) -> None:
    import batches

    full = batches.full_disk(tmp_path, model, count=10)
    if full is None:
        pytest.skip("no small disk can be made here")
    assert full["failed"] > 0
    assert batches.read_only(tmp_path, model, count=10) == {"done": 0, "failed": 10}


@linux
def test_evaluations_that_are_killed(tmp_path: Path, model: str) -> None:
    pytest.importorskip("py_sod_metrics", reason="py_sod_metrics is not installed: pip install -e '.[eval]'")
    import batches

    found = batches.evaluation_kills(tmp_path, model, count=10, times=2, seed=3)
    assert found is not None
    assert found["most"] <= 10


@linux
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("foreground FOLDER --resume", signal.SIGTERM),
        ("foreground FOLDER --watch", signal.SIGHUP),
        ("foreground map --resume", signal.SIGINT),
        ("foreground serve", signal.SIGKILL),
    ],
)
def test_commands_that_are_ended(
    name: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One signal for each; the script tries all."""
    import signals

    case = signals.cases().get(name)
    if case is None:
        pytest.skip("an extra is not installed")
    monkeypatch.setattr(signals, "SIGNALS", (number,))
    monkeypatch.setattr(signals, "cases", lambda: {name: case})
    assert signals.matrix(tmp_path, count=8, times=1, seed=1)[name]["times"] == 1


@linux
def test_threads_and_processes(model: str) -> None:
    import endurance

    for section, count in ((endurance.threads, 24), (endurance.forks, 5), (endurance.spawned, 4)):
        found = section(model, count)
        assert found["same"] == found["count"], found


@linux
def test_downloads_that_go_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the cases; the others take a minute, and are in test_hub.py with less patience."""
    import downloads

    quick = (
        "the connection is cut once",
        "other content once",
        "too few bytes",
        "redirects in a circle",
        "429, each time",
    )
    chosen = [case for case in downloads.cases() if case[0] in quick]
    assert len(chosen) == len(quick)
    monkeypatch.setattr(downloads, "cases", lambda: iter(chosen))
    found = {one["case"]: one for one in downloads.faults()}
    assert found["the connection is cut once"]["resumed"]
    assert "was removed. Load the model again." in found["too few bytes"]["error"]
    assert "HF_ENDPOINT" in found["redirects in a circle"]["error"]
    assert "no more requests for now" in found["429, each time"]["error"]
    full = downloads.full(tmp_path)
    assert full is None or "Free some space" in full["error"]


@linux
def test_processes_that_download_the_same() -> None:
    import downloads

    assert downloads.two_at_once() == {"bodies": 1}
    assert downloads.killed()["left"] == 0
    assert downloads.pinned() == {"same": True}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage(kind: str, data: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)).save(buffer, kind)
    broken = bytearray(buffer.getvalue())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(broken) - 1), st.integers(0, 255)), max_size=8)
    ):
        broken[place] = value
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it mends
        decoded = decoded_or_error(bytes(broken))
    if isinstance(decoded, ImageError):
        assert str(decoded).startswith("Cannot read <bytes>: ")
        return
    height, width, channels = decoded.pixels.shape
    assert 0 < height * width <= 1_000_000
    assert channels in (1, 3, 4)
    assert decoded.in_own_space().shape == (height, width, 3)


def decoded_or_error(data: bytes) -> DecodedImage | ImageError:
    try:
        return decode(data, max_pixels=1_000_000)
    except ImageError as error:
        return error
