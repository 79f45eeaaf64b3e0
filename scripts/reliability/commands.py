"""Run the command, or one of these scripts' functions, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from transformers_foreground.cli import main; main()"]


def environment() -> dict[str, str]:
    """Return the variables of a child."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "src")}


def foreground(*arguments: object, memory: int | None = None, timeout: float = 1200) -> dict[str, Any]:
    """Run the command to its end.

    Args:
        arguments: Its arguments.
        memory: Limit of its address space in bytes.
        timeout: Seconds after which it is killed.

    Returns:
        `code` (exit code), `lines` (of JSON), `said` (standard error), `seconds`, `peak` (memory in MB).
    """

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    started = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [*COMMAND, *map(str, arguments)]
        with subprocess.Popen(command, env=environment(), stdout=out, stderr=err, preexec_fn=limit) as process:
            timer = threading.Timer(timeout, process.kill)
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            timer.cancel()
        out.seek(0)
        err.seek(0)
        lines = [json.loads(line) for line in out.read().decode().splitlines()]
        return {
            "code": process.returncode,
            "lines": lines,
            "said": err.read().decode(errors="replace"),
            "seconds": time.perf_counter() - started,
            "peak": usage.ru_maxrss / 1024,
        }


def digest(folder: Path) -> dict[str, str]:
    """Return the names of a folder's files, and the SHA-256 of each."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def apart(module: str, function: str, *arguments: object) -> Any:
    """Run a function of one of these scripts in a process of its own.

    Args:
        module: The script's name, without `.py`.
        function: The function's name.
        arguments: Its arguments, as JSON can hold them.

    Returns:
        Its result, as JSON can hold it.
    """
    code = f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {module}; "
    code += f"print(json.dumps({module}.{function}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])
