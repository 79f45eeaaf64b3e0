"""Under CI, a test that skips for a missing package has failed (tests/skips.py)."""

from __future__ import annotations

import pytest
from conftest import ROOT

CONFTEST = (ROOT / "tests" / "skips.py").read_text(encoding="utf-8")
IN_A_TEST = "import pytest\ndef test_it():\n    pytest.importorskip('no_such_package')"
IN_A_MODULE = "import pytest\npytest.importorskip('no_such_package')\ndef test_it(): pass"
FOR_A_REASON = "import pytest\n@pytest.mark.skipif(True, reason='Windows has other pipes')\ndef test_it(): pass"
EXPECTED = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"


@pytest.mark.parametrize(
    ("code", "arguments", "ci", "passes"),
    [
        (IN_A_TEST, [], "", True),
        (IN_A_TEST, [], "1", False),
        (IN_A_TEST, ["--lacking", "no_such_either,no_such_package"], "1", True),
        (IN_A_TEST, ["--lacking", "such_package"], "1", False),
        (IN_A_MODULE, [], "1", False),
        (IN_A_MODULE, ["--lacking", "no_such_package"], "1", True),
        (FOR_A_REASON, [], "1", True),
        (EXPECTED, [], "1", True),
        (EXPECTED, ["--lacking", "numpy"], "1", False),  # which is installed
    ],
)
def test_skips(
    code: str, arguments: list[str], ci: str, passes: bool, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=code)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
    assert (result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)) == passes  # a module may be skipped
