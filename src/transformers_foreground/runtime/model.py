"""A model that can run: its files are here, and its session opens when it is first used, one in each process."""

from __future__ import annotations

import copyreg
import json
import os
import platform
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.env import __version__, env
from transformers_foreground.errors import ForegroundError, ModelNotFoundError
from transformers_foreground.hub.model_files import ModelFiles, load_files
from transformers_foreground.hub.transfer import sha256_of
from transformers_foreground.hub.transformers_js import config_json
from transformers_foreground.option_names import check_names
from transformers_foreground.runtime.checked import forward_checked
from transformers_foreground.runtime.cpu import usable_cpus
from transformers_foreground.runtime.graphs import Graph
from transformers_foreground.runtime.model_processing import processing_of
from transformers_foreground.runtime.opening import installed_device, open_graph
from transformers_foreground.runtime.processes import data_loader_workers, pool_workers
from transformers_foreground.runtime.processing import Processing
from transformers_foreground.runtime.sessions import forward

REMOTE_CODE = ("auto_map", "custom_pipelines")
"""Keys of `config.json` that point at code in the repository, which is never run."""

_Self = TypeVar("_Self", bound="Model")


class Model:
    """The files of a model, and how to open them.

    It pickles to the same bytes, whether it was used or not and in any process, as long as the model, revision, dtype,
    device, options, the files' SHA-256 and this package's version are the same. In workers of a pool and of a torch
    `DataLoader` each session gets its share of the cores, unless `intra_op_num_threads` is among the session options.
    On a machine without the files they are found or downloaded again, and must have the same SHA-256; that machine's
    own `env` and login count there, since a token is not pickled.

    Args:
        model: Repository id or folder.
        device: Device name (see `devices.PROVIDERS`), or a mapping from model file name to one. By default what the
            config's `transformers.js_config` says, else `"cpu"`.
        strict: Raise where the device's provider is not installed, instead of using the CPU.
        session_options: Attributes of `onnxruntime.SessionOptions` as a mapping, or such an object, which cannot be
            pickled. In a mapping, `free_dimension_overrides` gives sizes to the graph's free dimensions by name; by
            default, those of the config.
        provider_options: Options of the device's execution provider.
        resampling: One of `resampling.RESAMPLINGS`; `None` for the file's, else `"transformers.js"`.
        options: The other options of `hub.model_files.load_files`: dtype, revision, subfolder, cache_dir, ...

    Attributes:
        files: Where the model came from.
        device: What it runs on.
        revision: The revision that was asked for.

    Raises:
        ForegroundError: As `load_files`, `devices.resolve_device` and, when it opens, `opening.open_graph` say.
        TypeError: There is no such option.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: Any = None,
        strict: bool = False,
        session_options: Any = None,
        provider_options: Mapping[str, Any] | None = None,
        resampling: str | None = None,
        **options: Any,
    ) -> None:
        self._precise = str(options.get("dtype")) in ("fp32", "float32", "torch.float32")
        where: dict[str, Any] = {"strict": strict, "provider_options": provider_options, "precise": self._precise}
        check_names(options, load_files, Model.__init__)
        if resampling is not None:
            Processing(resampling=resampling)  # refuses an unknown one now, not in a worker
        # A name is checked before anything is downloaded. Without one, the model's config decides.
        asked = None if device is None or isinstance(device, Mapping) else installed_device(device, **where)
        self.files: ModelFiles = load_files(model, device=asked.name if asked else device, **options)
        self.device = asked or installed_device(self.files.device, **where)
        self.revision: str = options.get("revision") or "main"
        self.resampling = resampling
        mapping = session_options is None or isinstance(session_options, Mapping)
        fixed = self.files.free_dimension_overrides
        own = {"free_dimension_overrides": dict(fixed)} if fixed else {}
        # With those of env.backends.onnx, since a spawned process has a fresh env.
        self.session_options = {**own, **env.backends.onnx, **(session_options or {})} if mapping else session_options
        self._options = {key: value for key, value in options.items() if key not in ("token", "progress_callback")}
        self._version = __version__
        self._processes = 1
        self._sha256: tuple[str, ...] | None = None
        self._disposed = False
        self._start()

    _of_one_process: tuple[str, ...] = ("_locks", "_opened", "_full")

    def _start(self) -> None:
        """Make what belongs to one process: it is neither pickled nor, after a fork, the parent's."""
        self._locks: dict[int, threading.RLock] = {}
        self._opened: dict[int, tuple[Graph, Processing]] = {}
        self._full: dict[int, Graph] = {}

    @property
    def sha256(self) -> tuple[str, ...]:
        """SHA-256, in hex, of the ONNX file and then of those with its external data (see `ModelFiles.weights`)."""
        if self._sha256 is None:
            self._sha256 = _digests(self.files)
        return self._sha256

    def open(self: _Self) -> _Self:
        """Open the session in this process, unless it is open, and return the model itself.

        Raises:
            InvalidModelError: ONNX Runtime cannot open the file, or it gives no alpha plane.
            UnsupportedOptionError: Nothing says what its input looks like.
            ModelNotFoundError: This is another machine, where the same file can be neither found nor downloaded.
        """
        self._open()
        return self

    @property
    def graph(self) -> Graph:
        """The open session, and how to call it."""
        return self._open()[0]

    @property
    def full_graph(self) -> Graph:
        """The open session of the fp32 file that `"int8-checked"` has; it opens with the first doubtful image."""
        self._open()
        process = os.getpid()
        with self._locks.setdefault(process, threading.RLock()):
            if process not in self._full:
                if self.files.full_precision is None:
                    raise ForegroundError(f"dtype={self.files.dtype!r} has one file only.")
                self._full[process] = self._graph_of(self.files.full_precision)
        return self._full[process]

    def forward(self, pixel_values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Run the graph, as `sessions.forward` does; for `"int8-checked"`, as `checked.forward_checked` does."""
        if self.files.full_precision is None:
            return forward(self.graph, pixel_values)
        return forward_checked(self.graph, lambda: self.full_graph, pixel_values)

    @property
    def processing(self) -> Processing:
        """How pixels go in and the plane comes out."""
        return self._open()[1]

    def to(self, device: Any) -> None:
        """Move to another device: the session opens there when it is used next.

        Args:
            device: Device name; see `devices.PROVIDERS`. What torch and transformers say is understood too.

        Raises:
            UnsupportedDeviceError: The name is unknown; or, where the model is strict, it is not available here.
        """
        wanted = installed_device(device, strict=self.device.strict, precise=self._precise)
        if wanted.providers == self.device.providers:
            first, *rest = wanted.provider_options
            wanted = replace(wanted, provider_options=({**self.device.provider_options[0], **first}, *rest))
        if (wanted.providers, wanted.provider_options) != (self.device.providers, self.device.provider_options):
            self._forget()
        self.device = wanted

    def _open(self) -> tuple[Graph, Processing]:
        if self._disposed:
            raise ForegroundError("This model has been disposed of. Load it again.")
        process = os.getpid()
        if process not in self._opened:
            # A lock for each process: in a fork, the parent's may be held by a thread that is not there.
            with self._locks.setdefault(process, threading.RLock()):
                if process not in self._opened:
                    # The parent's entry stays: its session must not be destroyed here, where its threads are not.
                    self._opened[process] = self._graph_and_processing()
        return self._opened[process]

    def _graph_and_processing(self) -> tuple[Graph, Processing]:
        if not all(path.is_file() for path in self.files.weights):
            self._fetch_again()
        graph = self._graph_of(self.files.onnx)
        return graph, processing_of(self.files, graph, self.resampling)

    def _graph_of(self, onnx: Path) -> Graph:
        options = self.session_options
        if isinstance(options, Mapping) and self.processes() > 1:
            options = {"intra_op_num_threads": self.cores(), **options}
        return open_graph(onnx, self.device, options)

    def _fetch_again(self) -> None:
        """Get the files on another machine; what they must be was noted when this was sent."""
        sent, options = self.sha256, {**self._options, "revision": self.files.commit or self.revision}
        files = load_files(self.files.model_id, device=self.device.name, **options)
        if _digests(files) != sent:
            raise ModelNotFoundError(
                f"{files.onnx} on {platform.node()} is not the file that this job was started with."
            )
        self.files = files

    @property
    def config(self) -> Mapping[str, Any]:
        """Contents of `config.json`, or of the `config` option."""
        return self.files.config

    def processes(self) -> int:
        """Return how many processes share the cores with this one, itself included."""
        return data_loader_workers() or self._processes

    def cores(self) -> int:
        """Return this process's share of the usable cores, at least one."""
        return max(1, usable_cpus() // self.processes())

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the model where `pipeline()` and Transformers.js look for it: its JSON and the ONNX files of its dtype.

        Args:
            save_directory: The folder; it is made.

        Raises:
            OSError: It cannot be written.
        """
        folder = Path(save_directory)
        (folder / "onnx").mkdir(parents=True, exist_ok=True)
        config = config_json({key: value for key, value in self.files.config.items() if key not in REMOTE_CODE})
        processing = {**self.processing.to_dict(), "feature_extractor_type": "ImageFeatureExtractor"}
        for name, content in (("config.json", config), ("preprocessor_config.json", processing)):
            write_whole(folder / name, f"{json.dumps(content, indent=2)}\n".encode())
        copy_weights(self.files, folder / "onnx")

    # --- lifetime -----------------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        """Free the session of this process. The model cannot be used any more; a second call does nothing."""
        self._disposed = True
        self._forget()

    def _forget(self) -> None:
        for opened in (self._opened, self._full):
            opened.pop(os.getpid(), None)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self.session_options, Mapping):
            raise TypeError("onnxruntime.SessionOptions cannot be pickled. Give session_options as a dict.")
        state = {key: value for key, value in self.__dict__.items() if key not in self._of_one_process}
        return {**state, "_sha256": self.sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Interned, as Python does without this method: else what is pickled again would be other bytes.
        self.__dict__.update({sys.intern(name): value for name, value in state.items()})
        self._start()


def copy_weights(files: ModelFiles, folder: Path) -> None:
    """Copy a model's ONNX files, and those with their external data, into a folder; it may be their own."""
    for path in files.weights:
        if not (folder / path.name).exists() or not path.samefile(folder / path.name):
            shutil.copy(path, folder / path.name)


def _digests(files: ModelFiles) -> tuple[str, ...]:
    return tuple(map(sha256_of, files.weights))


def share_in_pools(library: Any, cls: type[Model]) -> None:
    """Tell a model that is sent to a worker how many workers there are, by which it divides the cores.

    A pickle made for another purpose, such as the fingerprints of `datasets`, does not depend on their number.

    Args:
        library: Whose pools: `multiprocessing`, or its fork `multiprocess`.
        cls: Which class of models.
    """
    library.reduction.ForkingPickler.register(cls, partial(_for_worker, library))


def _for_worker(library: Any, model: Model) -> tuple[Any, ...]:
    state = {**model.__getstate__(), "_processes": pool_workers(library)}
    return copyreg.__newobj__, (type(model),), state  # type: ignore[attr-defined]
