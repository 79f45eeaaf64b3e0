"""What a process that is killed while it writes a file leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HALF = """
import os, signal, sys
from pathlib import Path
from transformers_foreground import atomic_write
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
atomic_write.write_whole(Path(sys.argv[1]), b"half")
"""


def kill_while_writing(path: Path) -> Path:
    """Kill a process just before the file is whole; return what it left."""
    before = set(path.parent.iterdir())
    done = subprocess.run([sys.executable, "-c", _HALF, str(path)], check=False, timeout=120)
    assert done.returncode < 0
    (left,) = set(path.parent.iterdir()) - before
    return left
