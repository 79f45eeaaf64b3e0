"""Hooks of tests/conftest.py: under CI, a skip for a missing package is a failure; Ctrl-C works in background jobs.

Where the variable CI is set, a test that skips has failed: a package, a browser, Java or a model is missing. Skips for
what no installation brings (ALLOWED_SKIPS) pass, and so do those for packages that `--lacking` names.
"""

from __future__ import annotations

import os
import re
import signal
from importlib.util import find_spec
from typing import Any

import pytest

ALLOWED_SKIPS = re.compile(
    r"FOREGROUND_SHARED|\.\./shared|FOREGROUND_SCREENSHOTS"  # data beside the repository; images made on request
    r"|only transformers [45]"  # the other major version
    r"|Windows|no fork|named pipes|reads /proc|SIGINT|root may read|small disk"  # the system, or its user
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lacking", default="", help="packages that this environment is to lack, with commas between")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run where a package is installed that is said to be lacking: its absence is what is tested."""
    if present := [name for name in _lacking(config) if find_spec(name)]:
        raise pytest.UsageError(f"--lacking: {', '.join(present)} is installed in this environment")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a script's background job, whose children inherit this
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _lacking(config: pytest.Config) -> list[str]:
    return [name for name in config.getoption("--lacking").split(",") if name]


def _fail_if_skipped(report: Any, config: pytest.Config) -> None:
    """Turn a skip into a failure under CI, unless its reason is allowed."""
    if not (report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail")):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    lacking = any(re.search(rf"\b{re.escape(name)}\b", reason) for name in _lacking(config))
    if not (lacking or ALLOWED_SKIPS.search(reason)):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nUnder CI a test must not skip for this (see tests/skips.py)."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    _fail_if_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    _fail_if_skipped(report, collector.config)
    return report
