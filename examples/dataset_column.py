"""A folder of images -> a dataset with a column of masks, as Parquet.

    python examples/dataset_column.py photos/ masks.parquet --model imgly/isnet-general-use --processes 2

The folder may have a subfolder for each label, as `imagefolder` takes it. A second run with the same images and model
comes from datasets' cache.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
from datasets.table import embed_table_storage

from transformers_foreground import ForegroundError, ForegroundMapper


def with_masks(photos: datasets.Dataset, model: str, processes: int | None = None) -> datasets.Dataset:
    """Add the columns `mask` (an image, or null) and `error` (why there is no mask, or null)."""
    mapper = ForegroundMapper(model, image_column="image", mask_column="mask", error_column="error", on_error="none")
    return photos.map(
        mapper,
        batched=True,
        batch_size=8,  # what one process holds in memory
        num_proc=processes,  # each opens the model once, and takes its share of the cores
        features=mapper.features(photos.features),  # a batch without any mask has its types all the same
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the dataset; return the exit code, which is 1 if some images have no mask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of images")
    parser.add_argument("output", type=Path, help="Parquet file to write; the images go into it, too")
    parser.add_argument("--model", default="briaai/RMBG-1.4")
    parser.add_argument("--processes", type=int)
    options = parser.parse_args(arguments)

    photos = datasets.load_dataset("imagefolder", data_dir=str(options.photos), split="train")
    rows = with_masks(photos, options.model, options.processes)
    # `imagefolder` knows the images by their paths; this puts their bytes in the place of these, a few at a time.
    whole = rows.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100)
    whole.with_format(None).to_parquet(options.output, batch_size=100)
    failed = [error for error in rows["error"] if error is not None]
    print(f"{options.output}: {len(rows)} rows, {len(failed)} without a mask", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ForegroundError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
