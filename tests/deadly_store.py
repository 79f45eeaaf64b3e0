"""A store whose reader dies half-way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem


class DeadlyStore(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """Local files. Notes which process reads what; the first to read `fatal` is killed, or each one that does."""

    def __init__(self, log: str, fatal: str, *, always: bool = False) -> None:
        super().__init__(LocalFileSystem())
        self.log, self.fatal, self.always = log, fatal, always

    def open_input_file(self, path: str) -> Any:
        with open(self.log, "a") as log:
            log.write(f"{os.getpid()} {Path(path).name}\n")
        if path.endswith(f"/{self.fatal}") and (self.always or not os.path.exists(f"{self.log}.died")):
            Path(f"{self.log}.died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open_input_file(path)


def readers(log: Path) -> dict[str, set[str]]:
    """Return, for each process in the log, what it read."""
    found: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        process, name = line.split()
        found.setdefault(process, set()).add(name)
    return found
