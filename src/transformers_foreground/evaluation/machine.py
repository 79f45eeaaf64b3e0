"""Describe the machine that measures."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version

from transformers_foreground.runtime.cpu import processor, usable_cpus


def describe() -> dict[str, str]:
    """Return processor, cores, system, versions, and the time (UTC)."""
    return {
        "processor": processor(),
        "cores": str(usable_cpus()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
