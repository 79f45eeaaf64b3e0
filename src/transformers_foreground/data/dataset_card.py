"""The card of a dataset with computed masks: which model made them, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers_foreground.env import __version__
from transformers_foreground.hub.known_models import known_model
from transformers_foreground.hub.model_files import ModelFiles

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard


def dataset_card(
    name: str, columns: Sequence[str], files: ModelFiles, *, revision: str, sha256: str, engine: str, resampling: str
) -> DatasetCard:
    """Write a card.

    Args:
        name: The dataset's name.
        columns: The columns that were computed.
        files: The model's files.
        revision: The revision that was asked for. The card has the commit instead, if it is known; of a folder neither.
        sha256: Hash of the ONNX file.
        engine: The first execution provider, or OpenVINO.
        resampling: One of `resampling.RESAMPLINGS`.

    Returns:
        The card. Its metadata has, under `foreground`, the columns, model, revision, file, sha256, dtype, engine,
        resampling, model_license and package. It states no licence for the dataset itself.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    known = known_model(files.model_id)
    licence = known.licence if known else None
    made: Mapping[str, str] = {
        "model": _model_name(files),
        "revision": files.commit or ("unknown" if _is_local(files) else f"{revision} (commit unknown)"),
        "file": f"{files.onnx.parent.name}/{files.onnx.name}",
        "sha256": sha256,
        "dtype": files.dtype,
        "engine": engine,
        "resampling": resampling,
        "model_license": licence.name if licence else "unknown",
        "package": f"transformers-foreground {__version__}",
    }
    data = DatasetCardData(
        pretty_name=name,
        task_categories=["image-segmentation"],
        tags=["background-removal", "transformers-foreground"],
        foreground={"columns": list(columns), **made},
    )
    which = ", ".join(f"`{column}`" for column in columns)
    table = "\n".join(f"| {key} | {value} |" for key, value in made.items())
    notice = f"\nThe model's licence is [{licence.name}]({licence.url}): {licence.notice}\n" if licence else ""
    text = f"# {name}\n\nComputed by a model, not drawn by people: {which}.\n\n| | |\n|---|---|\n{table}\n{notice}"
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def _is_local(files: ModelFiles) -> bool:
    return Path(files.model_id).exists() or Path(files.model_id).is_absolute()


def _model_name(files: ModelFiles) -> str:
    """Return the repository's id, or of a folder its name alone: a path may name the machine and its user."""
    return f"a local folder named {Path(files.model_id).resolve().name}" if _is_local(files) else files.model_id
