"""Exports made on first use, one per bundle's weights, in the user's cache folder. Imports no torch by itself."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gfla_cli import __version__
from gfla_cli.bundles.shelf import bundle_name, find_bundle
from gfla_cli.errors import BundleError
from gfla_cli.io.files import make_folder


def cache_folder() -> Path:
    """Where gfla keeps what can be made again: GFLA_CACHE, else the system's place for caches."""
    if own := os.environ.get("GFLA_CACHE"):
        return Path(own)
    from platformdirs import user_cache_path

    return user_cache_path("gfla")


def cached_export(model: str | Path, *, half: bool = False) -> Path:
    """The bundle as an ONNX file, exported now if it was not before; torch is loaded only for that."""
    bundle = find_bundle(model)
    try:
        key = hashlib.sha256((bundle / "config.json").read_bytes()).hexdigest()[:12]  # holds the weights' own hash
    except OSError as error:
        raise BundleError(f"{bundle}: cannot be read: {error.strerror}", hint="get the bundle again") from error
    precision = "-fp16" if half else ""
    path = cache_folder() / "onnx" / f"{bundle_name(bundle)}-{key}-{__version__}{precision}.onnx"
    if not path.is_file():
        from gfla_cli.inference.export import export_onnx

        make_folder(path.parent, hint="GFLA_CACHE names another")
        export_onnx(bundle, path, half=half, overwrite=True)
    return path
