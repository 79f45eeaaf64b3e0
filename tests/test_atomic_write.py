"""Files are whole or not there, also after a kill."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from killed import kill_while_writing

from transformers_foreground.atomic_write import write_whole


def test_write_makes_folders_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.png"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["c.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_that_is_replaced_passes_its_mode_on(mode: int, umask: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(mode)
    before = os.umask(umask)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows folders are not synced")
@pytest.mark.parametrize("durable", [False, True])
def test_durable_files_reach_the_disk_before_their_name_and_the_name_too(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size} B")
        sync(descriptor)

    def move(*args: Any) -> None:
        order.append("name")
        replace(*args)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", move)
    write_whole(tmp_path / "x", b"1234", durable=durable)
    assert order == (["4 B", "name", "folder"] if durable else ["name"])


def test_writing_never_touches_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask belongs to all threads"))
    write_whole(tmp_path / "x", b"")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_leaves_what_was_there(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    write_whole(path, b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.png"]


def test_a_folder_or_a_file_in_the_way_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x.png", tmp_path / "folder"):
        with pytest.raises(OSError):  # noqa: PT011
            write_whole(path, b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_and_its_target_is_written(dangling: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.png", tmp_path / "link.png"
    if not dangling:
        target.write_bytes(b"old")
    link.symlink_to(Path("elsewhere") / "real.png")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["real.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through")
    reader.join(60)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_names_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"


def test_concurrent_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    contents = [bytes([i]) * 200_000 for i in range(16)]
    stop = threading.Event()
    torn: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            if path.exists() and path.read_bytes() not in contents:
                torn.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: write_whole(path, data), contents * 4))
    stop.set()
    watcher.join()
    assert not torn
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["x"]


# --- what a kill leaves -----------------------------------------------------------------------------------------------

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")


@POSIX
def test_what_a_killed_process_left_is_removed_with_the_next_write(tmp_path: Path) -> None:
    left, another = kill_while_writing(tmp_path / "x.png"), kill_while_writing(tmp_path / "y.png")
    assert left.read_bytes() == another.read_bytes() == b"half"
    write_whole(tmp_path / "x.png", b"whole")
    assert sorted(tmp_path.iterdir()) == [another, tmp_path / "x.png"]


@POSIX
def test_what_living_processes_write_is_left_alone(tmp_path: Path) -> None:
    code = "import sys; from transformers_foreground.atomic_write import unfinished as u; from pathlib import Path\n"
    code += "u(Path(sys.argv[1])).write_bytes(b'a'); print(flush=True); input()"
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x.png")], **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (part,) = tmp_path.iterdir()
        write_whole(tmp_path / "x.png", b"mine")
        assert part.read_bytes() == b"a"
        process.communicate(b"\n")


@POSIX
@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_another_machine_left_is_removed_after_a_day(hours: int, stays: bool, tmp_path: Path) -> None:
    left = kill_while_writing(tmp_path / "x.png")
    start, _, *rest = left.name.split("-")
    theirs = left.rename(left.with_name("-".join([start, "0" * 8, *rest])))
    os.utime(theirs, (time.time() - 3600 * hours,) * 2)
    write_whole(tmp_path / "x.png", b"mine")
    assert theirs.exists() == stays
