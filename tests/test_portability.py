"""What Windows and macOS lack, taken away here: modules, calls, an encoding, a drive. This is not Windows itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from transformers_foreground.cli.planning import plan
from transformers_foreground.cli.running import problem
from transformers_foreground.errors import ImageError

# Other packages ask for the platform, see Linux, and use what it has: so they are imported first.
WITHOUT_POSIX = """
import asyncio, contextlib, importlib, json, os, pkgutil, select, signal, socket, sys, time

for name in (
    "PIL.Image PIL.ImageCms av cv2 datasets fsspec gradio huggingface_hub multiprocess numpy onnx onnxruntime "
    "optimum.onnxruntime optimum.pipelines pillow_heif py_sod_metrics pyarrow.fs pyarrow.parquet pyspark "
    "ray.data requests rich.progress scipy.ndimage torch torch.distributed.checkpoint transformers "
    "transformers.pipelines "
    "typer uvicorn yaml"
).split():
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

for name in "crypt fcntl grp posix pty pwd readline resource syslog termios tty".split():
    sys.modules[name] = None
gone = {
    os: "chown fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority "
    "getuid killpg lchown lockf mkfifo mknod nice openpty pathconf posix_fadvise posix_fallocate posix_spawn pread "
    "pwrite readv register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setpgid setsid statvfs "
    "sysconf uname wait wait3 wait4 waitid writev O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC",
    select: "epoll poll",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 alarm pause pthread_kill setitimer sigwait",
    socket: "AF_UNIX SO_REUSEPORT",
    time: "clock_gettime tzset",
}
for module, names in gone.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import transformers_foreground

modules, missing = [], set()
for found in pkgutil.walk_packages(transformers_foreground.__path__, "transformers_foreground."):
    try:
        importlib.import_module(found.name)
        modules.append(found.name)
    except ModuleNotFoundError as error:
        missing.add(error.name)
print(json.dumps([len(modules), sorted(missing)]), flush=True)

from transformers_foreground.cli import main

sys.argv = ["foreground", *sys.argv[1:]]
main()
"""


def _python(code: str, *arguments: object, folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("cp932", errors="replace").splitlines()


def test_without_what_only_posix_has(tiny: Path, half_bright: Image.Image, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "c.webp"):
        half_bright.save(tmp_path / name)
    images = [*("a.jpg", "b.png", "c.webp"), "--model", tiny, "--json", "-o", "out", "--log", "log.jsonl"]
    lines = _python(WITHOUT_POSIX, *images, folder=tmp_path)
    modules, missing = json.loads(lines[0])
    assert modules > 100
    assert set(missing) <= {"gradio", "fastapi", "starlette", "uvicorn", "pyspark", "ray"}, "only extras may be missing"
    told = [json.loads(line) for line in lines[1:]]
    assert [Path(row["output"]).name for row in told] == ["a.cutout.png", "b.cutout.png", "c.cutout.png"]
    for row in told:
        with Image.open(tmp_path / row["output"]) as cutout:
            assert (cutout.getpixel((4, 4)), cutout.getpixel((44, 4)), cutout.mode) == (
                (255, 255, 255, 255),
                (0, 0, 0, 0),
                "RGBA",
            )


def test_letters_that_an_old_encoding_lacks(tmp_path: Path) -> None:
    code = "from transformers_foreground.cli import main; import sys; sys.argv[0] = 'foreground'; main()"
    lines = _python(code, "models", "info", "xuebinqin/u2netp", folder=tmp_path, PYTHONIOENCODING="cp932:strict")
    assert any(r"U\xb2-Netp" in line for line in lines)


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://commons.wikimedia.org/wiki/File:Cat.jpg", "File_Cat.cutout.png"),
        ('https://x.org/a<b>"c|d*.png', "a_b__c_d_.cutout.png"),
    ],
)
def test_names_from_urls_are_files_names_on_windows(url: str, result: str) -> None:
    (job,) = plan([url], None, "cutout").jobs
    assert str(job.target) == result


def test_a_drive_that_is_not_there(half_bright: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_bright.save(tmp_path / "a.png")
    (job,) = plan([str(tmp_path / "a.png")], str(tmp_path / "drive" / "out.png"), "cutout").jobs
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: Path(path) == tmp_path / "a.png" and exists(path))
    error = problem(job, force=False)
    assert isinstance(error, ImageError)
    assert "drive is not a folder" in str(error)
