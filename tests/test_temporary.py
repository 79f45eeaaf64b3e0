"""Temporary folders go with their process, whatever ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_server import png
from PIL import Image

from transformers_foreground.temporary import PREFIX, sweep_dead, temporary_folder

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e '.[server]'")


MAIN = "from transformers_foreground.cli import main; main()"


def start(tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server whose temporary directory is `tmp_path/tmp`; return it and its address."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "--api-only", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, match[0]
    raise AssertionError(f"it ended with {process.wait()}")


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").glob(f"{PREFIX}*"))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_signals_and_the_next_start(tiny: Path, tmp_path: Path, half_bright: Image.Image) -> None:
    process, url = start(tmp_path)
    try:
        answer = httpx.post(f"{url}/v1.0/removebg", files={"image_file": png(half_bright)}, timeout=60)
        assert answer.status_code == 200, answer.text
        (killed,) = folders(tmp_path)
        (killed / "files/left.png").write_bytes(b"of a visitor")
    finally:
        process.kill()
        process.wait(60)
    assert killed.exists()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        process, _ = start(tmp_path)
        try:
            assert killed not in folders(tmp_path)
            assert len(folders(tmp_path)) == 1
            process.send_signal(number)
            assert process.wait(60) in (0, 130)
        finally:
            process.kill()
        assert not list((tmp_path / "tmp").iterdir())


def test_what_is_swept_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    for name in ("dead", "starting", "stale"):
        (tmp_path / f"{PREFIX}{name}" / "files").mkdir(parents=True)
    (tmp_path / f"{PREFIX}dead/lock").touch()
    os.utime(tmp_path / f"{PREFIX}stale", (0, 0))
    with temporary_folder() as alive:
        (alive / "upload.png").touch()
        sweep_dead(tmp_path)
        assert (alive / "upload.png").exists()
        left = {path.name.removeprefix(PREFIX) for path in tmp_path.iterdir()} - {alive.parent.name[len(PREFIX) :]}
        assert left == {"elsewhere", "link", "file", "starting"}
        assert (elsewhere / "lock").exists()
    assert not alive.parent.exists()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Callable[..., None]:
        raise OSError("no locks available")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("transformers_foreground.temporary._lock", fails)
    with temporary_folder() as one, temporary_folder() as other:
        assert one.exists()
        assert other.exists()
    assert not list(tmp_path.iterdir())
