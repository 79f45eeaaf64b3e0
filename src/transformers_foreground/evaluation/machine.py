"""Describe the machine that rows are measured on."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version

from transformers_foreground.runtime.cpu import processor


def describe() -> dict[str, str]:
    """Return this machine, what runs on it, and the time (UTC)."""
    from transformers_foreground.runtime.cpu import usable_cpus

    return {
        "processor": processor(),
        "cores": str(usable_cpus()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
