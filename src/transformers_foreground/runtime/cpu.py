"""The processor: its name, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path


def cpuinfo(field: str) -> str:
    """Return a field of the first core in /proc/cpuinfo; empty where there is none."""
    try:
        found = re.search(rf"^{field}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def processor() -> str:
    """Return the processor's name, or its architecture where the system does not know the name."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Return how many cores this process may use, by its affinity and its cgroups' quotas (Linux), at least one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call in the standard library
        cores = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process in cores: the smallest of its control group and all groups above it.

    Containers limit the group that they show as the topmost one; systemd's `CPUQuota=` limits a group further down.

    Args:
        root: Where `proc/self/cgroup` and `sys/fs/cgroup` are read.

    Returns:
        Cores, such as 1.5; `None` without a quota, or where there are no control groups.

    Source:
        https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`) and
        https://docs.kernel.org/scheduler/sched-bwc.html (version 1: `cpu.cfs_quota_us`).
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return None
    quotas: list[float] = []
    for line in lines:  # hierarchy:controllers:path, without controllers in version 2
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for group in _groups(path, root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                quotas += _ratio(group / "cpu.max")
        elif "cpu" in controllers.split(","):
            for group in _groups(path, root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"):
                quotas += _ratio(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")
    return min(quotas, default=None)


def _groups(path: str, *mounts: Path) -> Iterator[Path]:
    """Yield the folders of a control group and of all above it, under each place where they may be mounted."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for mount in mounts:
        yield from (mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _ratio(*files: Path) -> list[float]:
    """Return quota / period, read from one file or two; nothing where there is no quota (`max` or -1) or no file."""
    try:
        quota, period = (int(word) for file in files for word in file.read_text().split())
    except (OSError, ValueError):
        return []
    return [quota / period] if quota > 0 and period > 0 else []
