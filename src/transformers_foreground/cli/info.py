"""`foreground info`: what a bug report needs."""

from __future__ import annotations

from pathlib import Path

import typer


def info() -> None:
    """Show versions, execution providers, cores, and where models are kept."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import onnxruntime as ort
    from huggingface_hub.constants import HF_HUB_CACHE

    from transformers_foreground.env import env
    from transformers_foreground.sessions import usable_cpus

    def version_of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    packages = (
        "transformers",
        "optimum",
        "optimum-onnx",
        "huggingface_hub",
        "datasets",
        "torch",
        "numpy",
        "pillow",
    )
    rows = {
        "transformers-foreground": env.version,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "onnxruntime": ort.__version__,
        **{package: version_of(package) for package in packages},
        "execution providers": ", ".join(ort.get_available_providers()),
        "usable cores": str(usable_cpus()),
        "local models": str(Path(env.local_model_path).resolve()),
        "cache": str(env.cache_dir or HF_HUB_CACHE),
        "hub": env.remote_host,
    }
    for name, value in rows.items():
        typer.echo(f"{name:24} {value}")
