"""Downloads that go wrong, against a local server that speaks the Hub's protocol, with the client's own patience.

In each case a model is loaded while something is wrong; then, with that repaired, it is loaded again and its bytes are
compared; then it is loaded without any server. So a case that leaves a wrong file in the cache fails.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from batches import small_disk
from commands import ROOT, environment

sys.path.append(str(ROOT / "tests"))
from hub_server import HubServer

REPO, ONNX = "briaai/RMBG-1.4", "onnx/model.onnx"
WEIGHTS = random.Random(0).randbytes(24_000_000)  # more than two chunks of the client
FILES: dict[str, bytes | Path] = {"config.json": b'{"model_type": "SegformerForSemanticSegmentation"}', ONNX: WEIGHTS}
PATIENCE = "2"  # seconds without a byte, after which the client asks again

Trouble = Callable[[HubServer], Any]
LOAD = "import sys; from transformers_foreground.hub.model_files import load_files; print(load_files(sys.argv[1]).onnx)"


def cases() -> Iterator[tuple[str, Trouble, dict[str, str]]]:
    """Yield what goes wrong: a name, a function that sets up the server, and variables of the loading process."""
    always = 10**6
    yield "the connection is cut once", lambda hub: hub.cut(ONNX, after=15_000_000), {}
    yield "it is cut each time, before a byte came", lambda hub: hub.cut(ONNX, after=0, times=always), {}
    yield "nothing comes for a minute, once", lambda hub: hub.stall(ONNX, 60, after=12_000_000), {}
    yield "nothing comes, ever", lambda hub: hub.stall(ONNX, 60, times=always), {}
    yield "other content of the same length", lambda hub: hub.corrupt(ONNX, times=always), {}
    yield "other content once", lambda hub: hub.corrupt(ONNX), {}
    yield "too few bytes", lambda hub: hub.wrong_length(ONNX, -7, times=always), {}
    yield "too many bytes", lambda hub: hub.wrong_length(ONNX, 7, times=always), {}
    for status in (401, 403, 404, 429, 500, 503):
        yield f"{status}, each time", lambda hub, status=status: hub.fail(ONNX, status, times=always), {}
    yield "503 twice", lambda hub: hub.fail(ONNX, 503, times=2), {}
    yield "gated, no token", lambda hub: hub.add_repo(REPO, FILES, gated=True, token="hf_in"), {}
    yield "gated, another's token", lambda hub: hub.add_repo(REPO, FILES, gated=True, token="hf_in"), {"HF_TOKEN": "x"}
    yield "no such model", lambda hub: hub.repos.clear(), {}
    yield "redirects in a circle", lambda hub: hub.redirect_for_ever(ONNX), {}
    yield "the Hub cannot be reached", lambda hub: hub.offline(), {}
    yield "a proxy that is not there", lambda hub: None, {"http_proxy": "http://127.0.0.1:9"}


def _load(hub: HubServer, cache: Path, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Load the model in a process of its own; return its exit code, and the path or the last line of its error."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, REPO],
        env=_variables(hub, cache, variables),
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = done.stdout if done.returncode == 0 else done.stderr
    return done.returncode, said.strip().splitlines()[-1].removeprefix("transformers_foreground.errors.")


def _variables(hub: HubServer, cache: Path, variables: dict[str, str] | None = None) -> dict[str, str]:
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DOWNLOAD_TIMEOUT": PATIENCE,
        "HF_HUB_OFFLINE": "0",
    }
    kept = {key: value for key, value in environment().items() if "proxy" not in key.lower() and key != "HF_TOKEN"}
    return {**kept, **own, **(variables or {})}


def _check_mended(hub: HubServer, cache: Path) -> None:
    """Repair everything, and check that the model loads, with the right bytes, and then without a server."""
    hub.online()
    hub.faults.clear()
    hub.repos.pop(REPO, None)
    hub.add_repo(REPO, FILES)
    code, said = _load(hub, cache)
    assert code == 0, said
    assert Path(said).read_bytes() == WEIGHTS, "a wrong file is in the cache"
    hub.offline()
    assert _load(hub, cache) == (0, said)


@contextmanager
def _server() -> Iterator[tuple[HubServer, Path]]:
    with ExitStack() as stack:
        hub = stack.enter_context(HubServer())
        hub.add_repo(REPO, FILES)
        yield hub, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cache-")))


def _bodies(hub: HubServer) -> list[str | None]:
    """Return the Range header of each request for the weights."""
    return [headers.get("Range") for method, path, headers in hub.requests if method == "GET" and "/cdn/" in path]


def faults() -> list[dict[str, Any]]:
    """Try each case."""
    found = []
    for name, trouble, variables in cases():
        with _server() as (hub, cache):
            trouble(hub)
            started = time.perf_counter()
            code, said = _load(hub, cache, variables)
            seconds = time.perf_counter() - started
            resumed = any(_bodies(hub)[1:]) and code == 0
            _check_mended(hub, cache)
            found.append({"case": name, "error": said if code else "", "resumed": resumed, "seconds": seconds})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def killed() -> dict[str, Any]:
    """Kill a process in the middle of a download; the next one continues it."""
    with _server() as (hub, cache):
        hub.stall(ONNX, 60, after=21_000_000)
        variables = _variables(hub, cache, {"HF_HUB_DOWNLOAD_TIMEOUT": "60"})
        process = subprocess.Popen([sys.executable, "-c", LOAD, REPO], env=variables, stderr=subprocess.DEVNULL)
        while not (there := sum(path.stat().st_size for path in cache.rglob("*.incomplete"))) >= 20_000_000:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        hub.clear()
        _check_mended(hub, cache)
        (asked,) = _bodies(hub)
        left = [path.name for path in cache.rglob("*.incomplete")]
        return {"there": there, "asked": asked, "left": len(left)}


def two_at_once() -> dict[str, Any]:
    """Let two processes fetch the same model at the same time."""
    with _server() as (hub, cache):
        hub.stall(ONNX, 1.5, after=12_000_000)
        command = [sys.executable, "-c", LOAD, REPO]
        both = [
            subprocess.Popen(
                command, env=_variables(hub, cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        outcomes = [(process.communicate(timeout=120), process.returncode) for process in both]
        assert [code for _, code in outcomes] == [0, 0], outcomes
        bodies = len(_bodies(hub))
        _check_mended(hub, cache)
        return {"bodies": bodies}


def pinned() -> dict[str, Any]:
    """Load a pinned commit, move the branch on, and load the pinned commit without a server."""
    load = "import sys; from transformers_foreground.hub.model_files import load_files; "
    load += "f = load_files(sys.argv[1], revision=sys.argv[2]); print(f.commit, f.onnx)"
    with _server() as (hub, cache):
        old = hub.repos[REPO].refs["main"]
        command = [sys.executable, "-c", load, REPO, old]
        subprocess.run(command, env=_variables(hub, cache), check=True, capture_output=True)
        hub.add_repo(REPO, {**FILES, ONNX: WEIGHTS[::-1]})
        hub.offline()
        done = subprocess.run(command, env=_variables(hub, cache), check=True, capture_output=True, text=True)
        commit, path = done.stdout.split()
        return {"same": commit == old and Path(path).read_bytes() == WEIGHTS}


def full(work: Path) -> dict[str, Any] | None:
    """Fill the cache's disk; `None` if no small disk can be mounted here."""
    with HubServer() as hub, small_disk(work / "small-cache", "16m") as mounted:
        if not mounted:
            return None
        hub.add_repo(REPO, FILES)
        code, said = _load(hub, work / "small-cache")
        assert code, "a file larger than the disk"
        subprocess.run(["mount", "-o", "remount,size=64m", work / "small-cache"], check=True)
        _check_mended(hub, work / "small-cache")
        return {"error": said}
