"""What runtime dependencies bring along: their licences, and vulnerabilities that are known (`make audit`).

Run by the Python that has the package installed; pip-audit and pip-licenses are in an environment of their own.
Licences are those that packages name: libraries inside their wheels may have others.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF|Python|HPND|Unlicense|zlib|CC0|BSL-1.0", re.IGNORECASE)
SECONDS = 60


def runtime_dependencies(package: str) -> dict[str, str]:
    """Return the packages that come with one, and with those in turn: name to the installed version."""
    found: dict[str, str] = {}
    waiting, seen = [(package, "")], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # for another platform, or taken out on purpose
            continue
        found[canonicalize_name(name)] = installed.version
        for requirement in map(Requirement, installed.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
    del found[canonicalize_name(package)]
    return found


def licences_of(names: list[str], tools: Path) -> dict[str, str]:
    """Return each package's licence, as pip-licenses reads it from the metadata."""
    command = [str(tools / "pip-licenses"), "--python", sys.executable, "--format", "json", "--with-system"]
    done = subprocess.run([*command, "--packages", *names], check=True, capture_output=True, text=True, timeout=SECONDS)
    return {row["Name"]: row["License"] for row in json.loads(done.stdout)}


def tell_licences(licences: dict[str, str], names: list[str]) -> bool:
    """Print the licences, and by name those that ask for care; return whether there is none of the GPL family."""
    print(f"Licences of {len(names)} runtime dependencies:")
    for licence, count in Counter(licences.values()).most_common():
        print(f"  {count:3}  {licence.splitlines()[0][:100]}")
    copyleft = {name: licence for name, licence in licences.items() if re.search("GPL|GNU", licence)}
    known = {canonicalize_name(name) for name in licences}
    unclear = {name: text for name, text in licences.items() if not all(map(PERMISSIVE.search, text.split(" AND ")))}
    unclear |= {name: "pip-licenses does not know it" for name in names if name not in known}
    print(f"GPL family: {_listed(copyleft)}")
    print(f"Not clearly permissive: {_listed({k: v for k, v in unclear.items() if k not in copyleft})}")
    return not copyleft


def vulnerabilities(versions: dict[str, str], tools: Path) -> tuple[str, bool]:
    """Ask pip-audit, and return what it says in sentences, and whether all were looked up and none was found."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "requirements.txt"
        pins.write_text("".join(f"{name}=={version.partition('+')[0]}\n" for name, version in versions.items()))
        command = [str(tools / "pip-audit"), "--requirement", str(pins), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"NOT CHECKED: pip-audit had no answer within {SECONDS} seconds.", False
    try:
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return f"NOT CHECKED: {(done.stderr.strip().splitlines() or ['pip-audit did not say why'])[-1][:300]}", False
    return verdict(answers)


def verdict(answers: list[dict[str, Any]]) -> tuple[str, bool]:
    """Say what pip-audit's answers mean. It exits with 0 where it could look up nothing."""
    skipped = [answer for answer in answers if "skip_reason" in answer]
    if len(skipped) == len(answers):
        return f"NOT CHECKED: the service answered for none of {len(answers)} ({skipped[0]['skip_reason']}).", False
    known = {f"{a['name']} {a['version']}": ", ".join(v["id"] for v in a["vulns"]) for a in answers if a.get("vulns")}
    told = f"{_listed(known)} (of {len(answers) - len(skipped)} packages that were looked up)."
    if skipped:
        told += f" NOT CHECKED: {', '.join(answer['name'] for answer in skipped)}."
    return told, not known and not skipped


def _listed(named: dict[str, str]) -> str:
    return "; ".join(f"{name} ({what.splitlines()[0]})" for name, what in sorted(named.items())) or "none"


def main() -> int:
    """Print both; exit with 1 where there is something to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", type=Path, help="the folder that has pip-audit and pip-licenses")
    tools = parser.parse_args().tools
    versions = runtime_dependencies("transformers-foreground")
    free = tell_licences(licences_of(list(versions), tools), list(versions))
    sentence, safe = vulnerabilities(versions, tools)
    print(f"Known vulnerabilities: {sentence}", flush=True)
    return 0 if free and safe else 1


if __name__ == "__main__":
    sys.exit(main())
