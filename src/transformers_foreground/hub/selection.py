"""Which files of a repository a load means: what its config says, what was asked for, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from transformers_foreground.errors import UnsupportedOptionError
from transformers_foreground.hub.dtypes import CHECKED, SUFFIXES, file_name, js_config, resolve_dtype, select_device
from transformers_foreground.hub.json_files import check_config, read_json
from transformers_foreground.hub.repository import Repo
from transformers_foreground.hub.size_limit import total

CONFIG: Final = "config.json"
PREPROCESSOR: Final = "preprocessor_config.json"
_MAX_PARTS: Final = 100  # as in Transformers.js


@dataclass(frozen=True)
class Selection:
    """What one load means, before anything but the config was downloaded.

    Attributes:
        repo: Where the files are.
        config: Contents of `config.json`, or of the `config` option; empty where there is none.
        stem: Stem of the ONNX file.
        subfolder: Folder of the ONNX files; `""` for the top.
        device: The device that was asked for, by the option or by the config.
        dtype: The dtype, likewise.
        external: `use_external_data_format`, likewise.
        free_dimension_overrides: Names of the graph's free dimensions to their sizes, as the config fixes them.
    """

    repo: Repo
    config: Mapping[str, Any]
    stem: str
    subfolder: str
    device: str
    dtype: str
    external: Any
    free_dimension_overrides: Mapping[str, int]

    def weights(self, dtype: str | None = None) -> list[str]:
        """Return the names of a dtype's graph and of the files with its external data; by default, of the chosen one.

        `"int8-checked"` has two graphs: that of int8 comes first, then that of fp32.

        Raises:
            UnsupportedOptionError: `use_external_data_format` is no number of files.
        """
        chosen = dtype or self.dtype
        if chosen == CHECKED:
            return [*self.weights("int8"), *self.weights("fp32")]
        name = self._placed(chosen)
        parts = _external_parts(self.external, chosen, self.stem)
        return [name, *(f"{name}_data{'' if i == 0 else f'_{i}'}" for i in range(parts))]

    def sizes(self) -> dict[str, int | None]:
        """Return the model's dtypes, each with the bytes of its files, `None` where the server does not say."""
        names = {dtype: self.weights(dtype) for dtype in SUFFIXES}
        exists, size = self.repo.exists, self.repo.size
        return {dtype: total(map(size, files)) for dtype, files in names.items() if all(map(exists, files))}

    def what_it_has(self) -> str:
        """Say what could be loaded in place of a file that is missing; empty where nothing is known of the model."""
        has = [dtype for dtype in SUFFIXES if self.repo.exists(self._placed(dtype))]
        if has:
            choice = f"It has: {', '.join(has)}. Choose one of them: dtype= in Python, --dtype in the command."
            if self.dtype != CHECKED:
                return choice
            both = f"{self._placed('int8')} and {self._placed('fp32')}"
            return f"dtype={CHECKED!r} needs {both}; `foreground quantize` makes the first of the second. {choice}"
        names = self.repo.names()
        onnx = [name for name in names if name.endswith(".onnx")]
        if onnx:
            return f"Its ONNX files are: {', '.join(onnx)}. Choose one with model_file_name= and subfolder=."
        return "No other ONNX file was found either." if names else ""

    def _placed(self, dtype: str) -> str:
        """Return a graph's path: in the subfolder, or at the top, where Optimum's exports keep model.onnx."""
        name = file_name(dtype, self.stem)
        places = [f"{self.subfolder}/{name}" if self.subfolder else name]
        places += [name] if self.subfolder == "onnx" else []
        here = (place for place in places if self.repo.find(place))
        there = (place for place in places if self.repo.exists(place))
        return next(here, None) or next(there, places[0])


def select(
    repo: Repo,
    *,
    device: Any = None,
    dtype: Any = None,
    subfolder: str | None = "onnx",
    model_file_name: str | None = None,
    config: Mapping[str, Any] | None = None,
    use_external_data_format: bool | int | Mapping[str, Any] | None = None,
    quietly: bool = False,
) -> Selection:
    """Decide what a load means. Only `config.json` is downloaded for it, where there is one.

    Args:
        repo: Where the files are.
        device: See `load_files`, as of the other options.
        dtype: See there.
        subfolder: See there.
        model_file_name: See there.
        config: See there.
        use_external_data_format: See there.
        quietly: Show no progress bar for `config.json`.

    Raises:
        DownloadError: `config.json` could not be downloaded.
        GatedModelError: The Hub wants a login or an accepted licence.
        UnsupportedDtypeError: The dtype name is unknown.
        InvalidModelError: `config.json` is damaged, or it or `config` holds what no model's can.
    """
    stem = model_file_name or "model"
    if config is not None:
        check_config(config, "the config option")
    elif repo.exists(CONFIG):
        path = repo.get(CONFIG, (lambda _: None) if quietly else None)
        config = read_json(path)
        check_config(config, str(path))
    else:
        config = {}
    chosen = select_device(device, config, stem)
    own = js_config(config, chosen)
    return Selection(
        repo,
        config,
        stem,
        (subfolder or "").strip("/"),
        chosen,
        resolve_dtype(dtype, chosen, config, stem),
        own.get("use_external_data_format") if use_external_data_format is None else use_external_data_format,
        _dimensions(own.get("free_dimension_overrides")),
    )


def _dimensions(raw: Any) -> dict[str, int]:
    """Return those of a config's `free_dimension_overrides` that are sizes."""
    if not isinstance(raw, Mapping):
        return {}
    return {str(k): v for k, v in raw.items() if isinstance(v, int) and not isinstance(v, bool) and v > 0}


def _external_parts(option: Any, dtype: str, stem: str) -> int:
    """Return how many `*.onnx_data` files belong to the graph."""
    if isinstance(option, Mapping):
        option = option.get(file_name(dtype, stem), option.get(stem, False))
    if not isinstance(option or 0, int) or not 0 <= (option or 0) <= _MAX_PARTS:
        raise UnsupportedOptionError(
            f"use_external_data_format={option!r}: use True, False or a number of files up to {_MAX_PARTS}."
        )
    return int(option or 0)
