"""Small untrained models of every kind, with the same weights every time."""

from __future__ import annotations

from dataclasses import replace

import torch

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.config import preset
from gfla_cli.inference.device import Placement
from gfla_cli.networks.build import build, initialise

CPU = Placement(torch.device("cpu"), torch.float32, "test")


# Channels that score a patch, by level. Presets may change theirs; random networks then stay as they are.
_SCORING = {name: (64, 64, 32) for name in ("pose-people", "face-people", "body-people")} | {"view-chairs": (128,) * 3}


def tiny(name="pose-people", **changes):
    """The preset with few channels, for 64x64 frames."""
    small = {"image_size": (64, 64), "heatmap_sigma": 2, "width": 8, "flow_width": 8, "flow_reduction": 1}
    if changes.get("flow_prior", "solids") != "solids" and preset(name).has_depth:
        small["structure_channels"] = 18  # depth is for solids only
    if name in _SCORING:
        levels = zip(preset(name).levels, _SCORING[name], strict=True)
        small["levels"] = tuple(replace(level, hidden=hidden) for level, hidden in levels)
    levels = changes.get("levels", preset(name).levels)
    if changes.get("sampler", "local") not in ("local", "bilinear") or levels[-1].stride != 2:
        small["pixel_blend"] = False  # pixel blending needs a flow at stride 2
    return replace(preset(name), **small | changes)


def steady(**changes):
    """A pose model for exact comparisons: with random weights others amplify rounding errors."""
    return tiny(flow_prior="limbs", **changes)


def fresh(config):
    """An untrained network."""
    torch.manual_seed(0)
    network = build(config)
    initialise(network, "kaiming")
    return network


def save_tiny(folder, config, **about):
    """Writes an untrained bundle."""
    save_bundle(folder, config, fresh(config).state_dict(), **about)
    return folder
