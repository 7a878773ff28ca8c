"""The released checkpoints' tensor names, as a table to ours and back. Imports no torch.

A released generator is a state dict of a few networks built from repeated blocks. `_MODULES` names the networks
and their blocks, `_LAYERS` the layers inside each kind of block; everything else follows.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

from gfla_cli.config import ModelConfig, preset
from gfla_cli.errors import UsageError

# layer of our block -> theirs
_LAYERS: dict[str, dict[str, str]] = {
    "encoder": {"norm1": "model.0", "down": "model.2", "norm2": "model.3", "conv": "model.5"},
    "residual": {
        "norm1": "model.0",
        "conv1": "model.2",
        "norm2": "model.3",
        "conv2": "model.5",
        "shortcut": "shortcut.0",
    },
    "decoder": {"norm1": "model.0", "conv": "model.2", "norm2": "model.3", "up": "model.5", "shortcut": "shortcut.0"},
    "attention": {"hidden": "fully_connect_layer.0", "score": "fully_connect_layer.2"},
    "padded": {"conv": "model.2"},  # skip and output blocks; they also store the same tensor as `conv1`
    "plain": {"": ""},
}


class _Module(NamedTuple):
    ours: str
    theirs: str
    kind: str


def _encoder(ours: str, theirs: str, depth: int) -> list[_Module]:
    names = ["block0", *(f"encoder{i}" for i in range(depth - 1))]
    return [_Module(f"{ours}.down.{i}", f"{theirs}.{name}", "encoder") for i, name in enumerate(names)]


def _flow(ours: str, theirs: str) -> list[_Module]:
    modules = _encoder(ours, theirs, 5)
    for i, stride in enumerate((16, 8, 4)):
        modules.append(_Module(f"{ours}.up.{stride}", f"{theirs}.decoder{i}", "decoder"))
        modules.append(_Module(f"{ours}.skip.{stride}", f"{theirs}.jump{i}", "padded"))
    for i, stride in ((1, 8), (2, 4)):
        modules.append(_Module(f"{ours}.offset_head.{stride}", f"{theirs}.output{i}", "plain"))
        modules.append(_Module(f"{ours}.mask_head.{stride}", f"{theirs}.mask{i}.0", "plain"))
    return modules


def _decoder(attention: tuple[str, ...]) -> list[_Module]:
    modules = [_Module("decoder.to_image", "target.outconv", "padded")]
    for i, stride in enumerate((8, 4, 2)):
        modules.append(_Module(f"decoder.levels.{stride}.residual", f"target.decoder{i}.0.model.0", "residual"))
        modules.append(_Module(f"decoder.levels.{stride}.up", f"target.decoder{i}.1", "decoder"))
        for k, name in enumerate(attention):
            modules.append(_Module(f"decoder.levels.{stride}.samplers.{k}", f"target.{name}{i}", "attention"))
    return modules


_POSE = [
    *_encoder("source_encoder", "source", 3),
    *_encoder("target_encoder", "target", 3),
    *_decoder(("attn",)),
    *_flow("flow_estimator", "flow_net"),
]
_SEQUENCE = [
    *_encoder("previous_encoder", "source_previous", 3),
    *_encoder("reference_encoder", "source_reference", 3),
    *_encoder("target_encoder", "target", 3),
    *_decoder(("attn_p", "attn_r")),
]
_MODULES: dict[str, list[_Module]] = {
    "pose": _POSE,
    "face": [*_SEQUENCE, *_flow("flow_estimator", "flow_net")],
    "body": [*_SEQUENCE, *_flow("previous_flow", "flow_net_previous"), *_flow("reference_flow", "flow_net_reference")],
    "view": [
        *_encoder("source_encoder", "source", 3),
        _Module("code_up.0", "target.block0", "decoder"),
        _Module("code_up.1", "target.block1", "decoder"),
        *_decoder(("attn",)),
        *_flow("flow_estimator", "flow_net"),
        _Module("flow_estimator.bottleneck", "flow_net.cat.model.0", "residual"),
    ],
}


# What their code derives nothing from: how a picture is brought to the frame.
_FRAMING = ("image_size", "heatmap_sigma", "frame_aspect")
_PRESETS = ("pose-fashion", "pose-market", "face", "body", "view-chair")
_FLOW = "flow_net"  # all names of a flow estimator begin so


def refuse_other_networks(config: ModelConfig) -> None:
    """Raises UsageError unless the authors' code has this network, with all that its tensors do not show."""
    differing: list[list[str]] = []
    for name in _PRESETS:
        theirs = preset(name)
        if theirs.task == config.task:
            settings = [field.name for field in fields(config) if field.name not in _FRAMING]
            differing.append([one for one in settings if getattr(theirs, one) != getattr(config, one)])
    if all(differing):
        fewest = min(differing, key=lambda settings: len(settings))
        what = f"the authors' code has no such network: it differs in {', '.join(fewest)}"
        raise UsageError(what, hint=f"models with the presets {', '.join(_PRESETS)} can be exported")


def is_flow_name(name: str) -> bool:
    """Whether a released tensor belongs to a flow estimator."""
    return name.startswith(_FLOW)


def with_flow_prefix(name: str) -> str:
    """The name in a whole generator of a tensor of a flow estimator saved by itself."""
    return f"{_FLOW}.{name}"


def names_from_authors(config: ModelConfig) -> dict[str, str]:
    """Their tensor name -> ours, for every tensor either side may have (a model uses those its levels need)."""
    table = {}
    for module in _MODULES[config.task]:
        for ours, theirs in _LAYERS[module.kind].items():
            for leaf in ("weight", "bias"):
                key = ".".join(part for part in (module.theirs, theirs, leaf) if part)
                table[key] = ".".join(part for part in (module.ours, ours, leaf) if part)
    return table


def aliases(config: ModelConfig) -> dict[str, str]:
    """Names under which a released file stores a tensor a second time -> the name in force."""
    return {
        f"{module.theirs}.conv1.{leaf}": f"{module.theirs}.model.2.{leaf}"
        for module in _MODULES[config.task]
        if module.kind == "padded"
        for leaf in ("weight", "bias")
    }
