"""The card of a dataset whose masks were computed: which model made them, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transformers_foreground.cards import card_for
from transformers_foreground.env import __version__
from transformers_foreground.model_files import ModelFiles

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard


def dataset_card(
    name: str, columns: Sequence[str], files: ModelFiles, *, revision: str, sha256: str, resampling: str
) -> DatasetCard:
    """Write a card.

    Args:
        name: What to call the dataset.
        columns: The columns that were computed.
        files: The model's files.
        revision: What was asked for; the commit is told in its place where it is known.
        sha256: Hash of the ONNX file.
        resampling: One of `resampling.RESAMPLINGS`.

    Returns:
        The card. Under `foreground` its metadata has the columns, model, revision, file, sha256, dtype, resampling,
        model_license and package. It states no licence for the dataset itself.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    known = card_for(files.model_id, files.config.get("model_type"))
    licence = known.licence if known else None
    made: Mapping[str, str] = {
        "model": files.model_id,
        "revision": files.commit or revision,
        "file": f"{files.onnx.parent.name}/{files.onnx.name}",
        "sha256": sha256,
        "dtype": files.dtype,
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
