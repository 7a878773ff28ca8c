"""gfla: one photograph into another, by global flow and local attention (Ren et al., CVPR 2020).

from gfla_cli import PoseTransfer
result = PoseTransfer().transfer("anna.jpg", "ben.jpg")   # .image is uint8 RGB
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# These libraries report usage over the network unless told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The threads of numpy's OpenBLAS spin for 50 ms after every use, also after the import. 4 is the shortest time.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

if TYPE_CHECKING:
    from gfla_cli.bundles.bundle import Bundle, load_bundle
    from gfla_cli.pipelines.animation import Animation, Animator
    from gfla_cli.pipelines.pose_transfer import PoseTransfer, TransferResult
    from gfla_cli.pipelines.view_synthesis import ViewResult, ViewSynthesizer

# Looked up on first use: importing gfla_cli must not import torch.
_PUBLIC = {
    "Animation": "gfla_cli.pipelines.animation",
    "Animator": "gfla_cli.pipelines.animation",
    "Bundle": "gfla_cli.bundles.bundle",
    "PoseTransfer": "gfla_cli.pipelines.pose_transfer",
    "TransferResult": "gfla_cli.pipelines.pose_transfer",
    "ViewResult": "gfla_cli.pipelines.view_synthesis",
    "ViewSynthesizer": "gfla_cli.pipelines.view_synthesis",
    "load_bundle": "gfla_cli.bundles.bundle",
}
__all__ = [
    "Animation",
    "Animator",
    "Bundle",
    "PoseTransfer",
    "TransferResult",
    "ViewResult",
    "ViewSynthesizer",
    "__version__",
    "load_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gfla_cli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
