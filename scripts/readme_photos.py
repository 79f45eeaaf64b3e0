"""Make docs/photos.jpg, README's image: three photographs of scikit-image's own data, cut out by the command.

    python scripts/readme_photos.py

All are in the public domain, as the documentation of `skimage.data` says: Eileen Collins by NASA, and under CC0 a
coffee by Rachel Michetti (courtesy of Pikolo Espresso Bar) and the cat Chelsea by Stéfan van der Walt.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from skimage import data

MODEL = "imgly/isnet-general-use"
OUTPUT = Path(__file__).resolve().parents[1] / "docs/photos.jpg"


def main() -> None:
    """Write the photographs, cut them out, and keep the contact sheet."""
    with tempfile.TemporaryDirectory() as folder:
        photos = {"astronaut": data.astronaut(), "coffee": data.coffee(), "cat": data.chelsea()}
        paths = [Path(folder) / f"{name}.png" for name in photos]
        for path, pixels in zip(paths, photos.values(), strict=True):
            Image.fromarray(pixels).save(path)
        command = ["foreground", *map(str, paths), "--model", MODEL]
        subprocess.run([*command, "--device", "cpu", "--contact-sheet", str(OUTPUT), "--force"], check=True)


if __name__ == "__main__":
    main()
