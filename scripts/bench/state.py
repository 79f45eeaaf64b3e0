"""Results so far, in one JSON file, so that a run that was stopped can continue."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class State:
    """Results on disk, by section.

    Args:
        path: The JSON file.
        fresh: Ignore earlier results.
        budget: Seconds after which no new measurement is started.
    """

    def __init__(self, path: Path, fresh: bool, budget: float) -> None:
        self.path, self.started, self.budget = path, time.perf_counter(), budget
        self.data: dict[str, Any] = {"sections": {}, "errors": {}, "skipped": []}
        if path.exists() and not fresh:
            self.data = json.loads(path.read_text())
            self.data["skipped"] = []

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return time.perf_counter() - self.started

    def section(self, name: str, settings: Mapping[str, Any], again: bool = False) -> dict[str, Any]:
        """Return a section's results so far, unless they were measured with other settings."""
        sections, settings = self.data["sections"], dict(settings)
        if again or name not in sections or sections[name]["settings"] != settings:
            sections[name] = {"settings": settings, "results": {}, "load": os.getloadavg()[0], "seconds": 0.0}
            for key in [key for key in self.data["errors"] if key.startswith(f"{name}: ")]:
                del self.data["errors"][key]
        results: dict[str, Any] = sections[name]["results"]
        return results

    def measure(self, section: str, key: str, work: Callable[[], Any]) -> Any:
        """Call a function and keep its result, unless there is one already or no time is left.

        An exception is kept as an error of the report; the benchmark continues.
        """
        entry = self.data["sections"][section]
        if key in entry["results"]:
            return entry["results"][key]
        label = f"{section}: {key}"
        if self.elapsed > self.budget:
            print(f"{label}: no time left", flush=True)
            self.data["skipped"].append(label)
            return None
        start = time.perf_counter()
        try:
            result = work()
        except Exception as error:  # whatever a peer does, the others are still measured
            print(f"{label}: FAILED: {error}", flush=True)
            self.data["errors"][label] = f"{type(error).__name__}: {error}"
            return None
        finally:
            entry["seconds"] += time.perf_counter() - start
        self.data["errors"].pop(label, None)
        entry["results"][key] = result
        self.save()
        print(f"{label}: done ({self.elapsed / 60:.1f} min since the start)", flush=True)
        return result

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1))
        part.replace(self.path)
