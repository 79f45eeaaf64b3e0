"""Load a model: find its files, open a session. Needs neither torch nor transformers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers_foreground.cards import card_for
from transformers_foreground.devices import CPU, Device, resolve_device
from transformers_foreground.errors import DeviceFallbackWarning, UnsupportedOptionError
from transformers_foreground.graph_cache import open_optimised
from transformers_foreground.model_files import PREPROCESSOR, ModelFiles, load_files
from transformers_foreground.preprocessing import Processing
from transformers_foreground.providers import with_defaults
from transformers_foreground.sessions import Graph, create_session, graph_of, session_options


@dataclass(frozen=True)
class LoadedModel:
    """A model that can run.

    Attributes:
        files: Where it came from.
        device: What it runs on.
        graph: The session.
        processing: How pixels go in and the plane comes out.
        session_options: What the session was opened with.
    """

    files: ModelFiles
    device: Device
    graph: Graph
    processing: Processing
    session_options: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what a session is opened from, since a session itself cannot be pickled."""
        if self.session_options is not None and not isinstance(self.session_options, Mapping):
            raise TypeError("onnxruntime.SessionOptions cannot be pickled. Give session_options as a dict.")
        return _open, (self.files, self.device, self.processing, self.session_options)


def processing_of(files: ModelFiles, graph: Graph, resampling: str | None = None) -> Processing:
    """Decide how pixels go into a model.

    The repository's own `preprocessor_config.json` wins over the card in `configs/`; the card's keys that are ours
    alone (`rescale_to_max`, `min_max`) still count, since no repository states them. A graph of fixed size decides
    where neither states a size.

    Args:
        files: The model's files.
        graph: Its session.
        resampling: One of `resampling.RESAMPLINGS`; `None` for the file's, else `"transformers.js"`.

    Raises:
        UnsupportedOptionError: Nothing says what size the model takes, or the resampling is unknown.
    """
    card = card_for(files.model_id, files.config.get("model_type"))
    known = card.preprocessor if card else {}
    if files.preprocessor is not None:
        own = {key: known[key] for key in ("rescale_to_max", "min_max") if key in known}
        processing = Processing.from_dict({**own, **files.preprocessor})
    elif card is not None:
        processing = Processing.from_dict(known)
    else:
        raise UnsupportedOptionError(
            f"{files.model_id} is not a known model and has no {PREPROCESSOR}: nothing says what its input looks like. "
            "Put one beside its config.json, with size, image_mean and image_std."
        )
    if graph.height and graph.width and (processing.size is None or not processing.do_resize):
        processing = replace(processing.with_size(graph.height, graph.width), do_resize=True)
    if processing.do_resize and processing.size is None:
        raise UnsupportedOptionError(
            f"Nothing says what size {files.model_id} takes. Put a {PREPROCESSOR} with a 'size' beside its config.json."
        )
    return replace(processing, resampling=resampling) if resampling else processing


def open_graph(path: Path, device: Device, options: Any = None) -> Graph:
    """Open a session on a device.

    Raises:
        InvalidModelError: See `sessions.create_session` and `sessions.graph_of`.

    Warns:
        DeviceFallbackWarning: The provider is installed but does not work here, so ONNX Runtime took the CPU.
    """
    first, rest = device.providers[0], device.provider_options[1:]
    provider_options = (with_defaults(first, device.provider_options[0]), *rest)
    built = session_options(options)

    def create(file: Path) -> Any:
        return create_session(file, device.providers, provider_options, built)

    # Options that the caller made are the caller's: they are not changed.
    session = open_optimised(path, built, create) if first == CPU and built is not options else create(path)
    if session.get_providers()[0] != first:
        warnings.warn(
            f"{first} is installed but did not start (see ONNX Runtime's message above). Using the CPU.",
            DeviceFallbackWarning,
            stacklevel=2,
        )
    return graph_of(session, path)


def _open(files: ModelFiles, device: Device, processing: Processing, options: Any) -> LoadedModel:
    """Open a model again, in the process that it was unpickled in."""
    return LoadedModel(files, device, open_graph(files.onnx, device, options), processing, options)


def installed_device(device: Any, *, strict: bool = False, provider_options: Mapping[str, Any] | None = None) -> Device:
    """Resolve a device name among the providers of the installed ONNX Runtime (see `devices.resolve_device`)."""
    import onnxruntime as ort

    resolved = resolve_device(device, available=ort.get_available_providers(), strict=strict)
    if not provider_options:
        return resolved
    first, *rest = resolved.provider_options
    return replace(resolved, provider_options=({**first, **provider_options}, *rest))


def load(
    model_id: str | Path,
    *,
    device: Any = None,
    strict: bool = False,
    session_options: Any = None,
    provider_options: Mapping[str, Any] | None = None,
    resampling: str | None = None,
    **options: Any,
) -> LoadedModel:
    """Load a model.

    Args:
        model_id: Repository id or folder.
        device: Device name; see `devices.PROVIDERS`.
        strict: Raise where the device's provider is not installed.
        session_options: `onnxruntime.SessionOptions`, or a mapping of its attributes.
        provider_options: Options of the device's execution provider, above the defaults in `providers`.
        resampling: One of `resampling.RESAMPLINGS`.
        options: The other options of `load_files`.

    Raises:
        ForegroundError: As `load_files`, `devices.resolve_device` and `sessions.create_session` say.
    """
    resolved = installed_device(device, strict=strict, provider_options=provider_options)
    files = load_files(model_id, device=resolved.name, **options)
    graph = open_graph(files.onnx, resolved, session_options)
    return LoadedModel(files, resolved, graph, processing_of(files, graph, resampling), session_options)
