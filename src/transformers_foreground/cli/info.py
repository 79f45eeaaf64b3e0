"""`foreground info`: the facts that a bug report needs."""

from __future__ import annotations

from pathlib import Path

import typer

_PACKAGES = (
    "transformers",
    "optimum",
    "optimum-onnx",
    "huggingface_hub",
    "datasets",
    "torch",
    "numpy",
    "pillow",
    "pillow-heif",
    "pyarrow",
    "openvino",
    "gradio",
    "ray",
    "pyspark",
)


def info() -> None:
    """Show versions, execution providers, cores, and where models are kept."""
    import platform

    import onnxruntime as ort
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    from transformers_foreground.cli.models import dtypes_here
    from transformers_foreground.env import env
    from transformers_foreground.hub.known_models import known_models
    from transformers_foreground.runtime.cpu import usable_cpus
    from transformers_foreground.runtime.opening import installed_device

    here = [f"{card.id} ({' '.join(dtypes)})" for card in known_models() if (dtypes := dtypes_here(card))]
    rows = [
        ("transformers-foreground", env.version),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("onnxruntime", ort.__version__),
        *((package, _version_of(package)) for package in _PACKAGES),
        ("execution providers", ", ".join(ort.get_available_providers())),
        ("device auto", installed_device("auto").providers[0]),
        ("usable cores", str(usable_cpus())),
        ("local models", str(Path(env.local_model_path).resolve())),
        ("cache", str(env.cache_dir or HF_HUB_CACHE)),
        ("hub", env.remote_host + (" (offline: HF_HUB_OFFLINE is set)" if HF_HUB_OFFLINE else "")),
        ("models here", here[0] if here else "none"),
        *(("", model) for model in here[1:]),
    ]
    for name, value in rows:
        typer.echo(f"{name:24} {value}")


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
