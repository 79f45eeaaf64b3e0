"""What Linux tells of the processor."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def cpuinfo(field: str) -> str:
    """Return a field of the first core in /proc/cpuinfo; empty where there is none."""
    try:
        found = re.search(rf"^{field}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def processor() -> str:
    """Return the processor's name, as well as it can be told."""
    return cpuinfo("model name") or platform.processor() or platform.machine()
