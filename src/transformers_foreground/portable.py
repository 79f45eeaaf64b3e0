"""A model that goes to other processes as what it is opened from, and shares the cores with its copies there."""

from __future__ import annotations

import copyreg
import inspect
import multiprocessing
import multiprocessing.reduction
import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from transformers_foreground.downloads import sha256_of
from transformers_foreground.env import __version__, env
from transformers_foreground.errors import ModelNotFoundError
from transformers_foreground.loading import LoadedModel, installed_device, open_graph, processing_of
from transformers_foreground.model_files import load_files
from transformers_foreground.preprocessing import Processing
from transformers_foreground.sessions import usable_cpus


class PortableModel:
    """The files of a model, and how to open them. The session opens at the first use, one in each process.

    It pickles to the same bytes whether it was used or not, and in any process, as long as the model, revision, dtype,
    device, options, the files' SHA-256 and this package's version are the same. In a pool's workers (after
    `share_in_pools`) and in those of a torch `DataLoader`, each session gets its share of the cores, unless
    `intra_op_num_threads` is among the session options.

    On another machine, where the files are not, they are found or downloaded anew, and must have the same SHA-256. That
    machine's own `env` and login count there: a token does not travel.

    Args:
        model: Repository id or folder.
        device: Device name; see `devices.PROVIDERS`.
        strict: Raise where the device's provider is not installed.
        session_options: Attributes of `onnxruntime.SessionOptions`.
        provider_options: Options of the device's execution provider.
        resampling: One of `resampling.RESAMPLINGS`.
        options: The other options of `model_files.load_files`.

    Raises:
        ForegroundError: As `loading.load` says, but for what only opening the file can tell.
        TypeError: There is no such option.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: Any = None,
        strict: bool = False,
        session_options: Mapping[str, Any] | None = None,
        provider_options: Mapping[str, Any] | None = None,
        resampling: str | None = None,
        **options: Any,
    ) -> None:
        known = list(inspect.signature(load_files).parameters)[2:]  # after the model and the device
        if unknown := [name for name in options if name not in known]:
            raise TypeError(f"Unknown option {unknown[0]!r}. The options of a model are: {', '.join(known)}.")
        if resampling is not None:
            Processing(resampling=resampling)  # refuses an unknown one now, not in a worker
        self.device = installed_device(device, strict=strict, provider_options=provider_options)
        self.files = load_files(model, device=self.device.name, **options)
        self._options = {key: value for key, value in options.items() if key not in ("token", "progress_callback")}
        self.revision: str = options.get("revision") or "main"
        self.session_options = {**env.backends.onnx, **(session_options or {})}  # a spawned process has a fresh env
        self.resampling = resampling
        self._version = __version__
        self._processes = 1
        self._sha256: tuple[str, ...] | None = None
        self._opened: tuple[int, LoadedModel] | None = None

    @property
    def sha256(self) -> tuple[str, ...]:
        """SHA-256, in hex, of the ONNX file and then of those with its external data."""
        if self._sha256 is None:
            self._sha256 = _digests(self.files.onnx)
        return self._sha256

    def open(self) -> LoadedModel:
        """Return the model, opened in this process.

        Raises:
            InvalidModelError: ONNX Runtime cannot open it, or it gives no alpha plane.
            UnsupportedOptionError: Nothing says what its input looks like.
            ModelNotFoundError: This is another machine, and the same file is not to be had here.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            if not self.files.onnx.is_file():
                self._fetch()
            threads = {"intra_op_num_threads": self.cores()} if self.processes() > 1 else {}
            options = {**threads, **self.session_options}
            graph = open_graph(self.files.onnx, self.device, options)
            processing = processing_of(self.files, graph, self.resampling)
            self._opened = os.getpid(), LoadedModel(self.files, self.device, graph, processing, options)
        return self._opened[1]

    def _fetch(self) -> None:
        """Get the files again; what they must be was noted when this was sent."""
        sent, options = self.sha256, {**self._options, "revision": self.files.commit or self.revision}
        files = load_files(self.files.model_id, device=self.device.name, **options)
        if _digests(files.onnx) != sent:
            raise ModelNotFoundError(
                f"{files.onnx} on {platform.node()} is not the file that this job was started with."
            )
        self.files = files

    def processes(self) -> int:
        """Return how many processes share the cores with this one, itself included."""
        torch_data = sys.modules.get("torch.utils.data")
        worker = torch_data.get_worker_info() if torch_data else None
        return int(worker.num_workers if worker else self._processes)

    def cores(self) -> int:
        """Return this process's share of the usable cores, at least one."""
        return max(1, usable_cpus() // self.processes())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sha256": self.sha256, "_opened": None}


def _digests(onnx: Path) -> tuple[str, ...]:
    return tuple(sha256_of(path) for path in (onnx, *sorted(onnx.parent.glob(f"{onnx.name}_data*"))))


def share_in_pools(library: Any) -> None:
    """Make models that are sent to workers of `library` (`multiprocessing`, or its fork `multiprocess`) count these.

    A pool starts all its workers before it sends them anything, so that their number is known when a model is pickled
    for one of them. A pickle made for another purpose, such as the fingerprints of `datasets`, depends on no number.
    """
    library.reduction.ForkingPickler.register(PortableModel, partial(_for_worker, library))


def _for_worker(library: Any, model: PortableModel) -> tuple[Any, ...]:
    workers = sum("PoolWorker" in process.name for process in library.active_children())
    state = {**model.__getstate__(), "_processes": max(1, workers)}
    return copyreg.__newobj__, (PortableModel,), state  # type: ignore[attr-defined]


share_in_pools(multiprocessing)
