"""How many cores may be used: control groups' quotas, of both versions and at every level."""

from __future__ import annotations

from pathlib import Path

import pytest

from transformers_foreground.runtime import cpu
from transformers_foreground.runtime.cpu import cgroup_quota, usable_cpus

PAIR = "cpu.cfs_quota_us", "cpu.cfs_period_us"
V1 = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


def v1(folder: str, quota: int, period: int) -> dict[str, str]:
    """Return the files of a group of version 1."""
    return {f"{folder}/{name}": str(value) for name, value in zip(PAIR, (quota, period), strict=True)}


def tree(root: Path, membership: str, files: dict[str, str]) -> Path:
    """Lay out a machine's files: `proc/self/cgroup`, and others below `sys/fs/cgroup`."""
    for name, content in {
        "proc/self/cgroup": membership,
        **{f"sys/fs/cgroup/{k}": v for k, v in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 1.5),
        ("0::/a.slice/b\n", {"a.slice/cpu.max": "50000 100000", "a.slice/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/../../x\n", {"cpu.max": "300000 100000"}, 3),
        (V1, v1("cpu,cpuacct/docker/abc", 250_000, 100_000), 2.5),
        (V1, v1("cpu", 100_000, 50_000), 2),
        (V1, v1("cpu,cpuacct/docker/abc", -1, 100_000), None),
        (V1, v1("cpu,cpuacct/docker", 70_000, 100_000), 0.7),
        (V1 + "0::/docker/abc\n", {"unified/docker/abc/cpu.max": "100000 100000"}, 1),
        ("3:cpuset:/x\n", v1("cpuset/x", 1, 1), None),
        ("nonsense\n0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {"cpu.max": "0 0"}, None),
    ],
)  # fmt: skip
def test_quotas(membership: str, files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    assert cgroup_quota(tree(tmp_path, membership, files)) == expected


def test_without_control_groups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.3, 1), (1.5, 1), (3.0, 3), (64.0, 8)])
def test_the_quota_bounds_the_cores(quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cpu, "cgroup_quota", lambda: quota)
    assert usable_cpus() == expected
