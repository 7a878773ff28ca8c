"""Gives a pose model without depth the inputs that depth adds, with weights of zero: it draws what it drew before.

    python tools/widen_depth.py models/pose-people FOLDER

Where the depth of joints is known the guess of the flow is better from the start; what is seen of the bodies counts
once it was trained: gfla train --dataset people --init FOLDER.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.networks.build import build


def main(model: str, folder: str) -> None:
    """Writes the bundle of the wider model."""
    old = load_bundle(model)
    config = replace(old.config, structure_channels=36)
    wide = build(config)
    state = wide.state_dict()
    for name, weight in old.network.state_dict().items():
        if weight.shape != state[name].shape:
            sys.stderr.write(f"{name}: {tuple(weight.shape)} -> {tuple(state[name].shape)}\n")
        state[name] = torch.zeros_like(state[name])
        state[name][tuple(slice(side) for side in weight.shape)] = weight.to(state[name].dtype)
    wide.load_state_dict(state)
    save_bundle(Path(folder), config, wide.state_dict())


if __name__ == "__main__":
    main(*sys.argv[1:])
