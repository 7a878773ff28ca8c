"""Configuration of a model: settings of its networks, the presets, and their JSON form. Imports no torch."""

from __future__ import annotations

import json
import operator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from gfla_cli.errors import ConfigError, UsageError

Task = Literal["pose", "face", "body", "view"]
Sampler = Literal["local", "bilinear", "global", "none", "pixels"]
Reduction = Literal["mean", "sum"]
FlowPrior = Literal["none", "limbs", "matches", "curves", "solids", "volume"]

# How a network is run.
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["auto", "torch", "onnx"]

# A damaged or malicious config must not lead to huge allocations.
_LARGEST = {"width": 512, "max_width": 2048, "structure_channels": 512, "image side": 4096, "bottleneck": 16}
_LEAST_HIDDEN = 16  # channels inside a block; fewer are no faster, as processors take 16 at once
_PLAIN = {"int": (int,), "float": (int, float), "bool": (bool,)}  # annotation -> accepted JSON types


def _check_types(config: Level | ModelConfig) -> None:
    """Raises ConfigError for values of the wrong type, such as 2.5 for an integer or "no" for false."""
    for field in fields(config):
        value, allowed = getattr(config, field.name), _PLAIN.get(str(field.type))
        if allowed and type(value) not in allowed:
            raise ConfigError(f"{field.name} should be of type {field.type}, got {value!r:.40}")


_RENAMED = {"near_heads": "refines_heads"}  # old name in saved configs -> name of the field


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One attention level: a feature resolution at which source features are warped into the target."""

    stride: int  # image pixels per feature pixel
    patch: int  # side of the source patch attended to; odd. With 1 the level samples where the flow leads
    hidden: int = 128  # channels of the layer that scores a patch

    def __post_init__(self) -> None:
        _check_types(self)
        if self.stride not in (2, 4, 8):
            raise ConfigError(f"an attention level sits at stride 2, 4 or 8, got {self.stride}")
        if self.patch % 2 == 0 or not 1 <= self.patch <= 9:
            raise ConfigError(f"patch must be odd and at most 9, got {self.patch} at stride {self.stride}")
        if not 4 <= self.hidden <= _LARGEST["width"]:
            raise ConfigError(f"hidden must lie between 4 and {_LARGEST['width']}, got {self.hidden}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """All settings of a generator. The defaults are those of the authors' released models."""

    task: Task
    image_size: tuple[int, int]  # height, width in pixels of the frame that the network was trained on
    # Channels of a structure (the paper's pose map): 18 heat maps of joints, 36 with their depths, 16 of a face map
    # or 17 with the irises, 20 of a body skeleton, 21 of a view code.
    structure_channels: int
    levels: tuple[Level, ...]  # coarse to fine
    # How source features are fetched. "local" is the paper's attention. "bilinear", "global" and "none" are its
    # ablations (table 2). "pixels" is appearance flow (figure 7).
    sampler: Sampler = "local"

    width: int = 64  # channels of the renderer at stride 2; they double with every stride up to max_width
    max_width: int = 256
    # Blocks of the renderer have so many times fewer channels inside than they put out, at least 16. Not in the paper.
    bottleneck: int = 1
    flow_width: int = 32  # like width, for the flow estimator
    flow_max_width: int = 256
    flow_depth: int = 5  # stride-2 blocks of the flow estimator
    # The flow estimator sees the frame at 1/flow_reduction of its side. Trained on small frames, it then works on large
    # ones, too. Without the reduction it finds flows that are half as long as they should be.
    flow_reduction: int = 1
    # What the flow estimator corrects; each prior has a module in networks/priors. Not in the paper.
    # "limbs": each limb moves with its two joints. "curves": each part of a face moves with its curves.
    # "matches": source and target positions that a network describes alike.
    # "solids": one candidate flow for each part of a 3-D body model; the estimator chooses.
    # "volume": the object is estimated in space, and seen from the target view; for view models.
    flow_prior: FlowPrior = "none"
    match_width: int = 24  # channels of the prior "matches" at stride 2; they double up to match_max_width
    match_max_width: int = 96

    # InstanceNorm over the raw source image. It removes mean colour and contrast, which harms all but images with a
    # white background. The released models have it, our own presets do not.
    source_norm: bool = True
    # InstanceNorm over the raw structure. On sparse heat maps it multiplies peaks by 20 to 30.
    structure_norm: bool = True
    # "mean" is the paper's: local attention ends in an average pool, so the result is n² times smaller than the
    # features it is blended with. "sum" leaves that factor out.
    attention_reduction: Reduction = "mean"
    # Kernel of the renderer's transposed convolutions: 3 as in the released models; 4 has fewer checkerboard artefacts.
    up_kernel: int = 3
    # View models: the code also scales the skip features of the flow estimator. In the released models it only enters
    # at the bottleneck, where InstanceNorm removes a constant again and only the shortcuts keep it.
    code_gates: bool = False
    view_width: int = 0  # view models: first channels of the estimator of the source's view; 0 = no estimator

    # The last step mixes pixels of the warped source image with generated ones (networks/renderer.py).
    pixel_blend: bool = False
    # Side of the frame divided by the side at which it is predicted how to mix them. 2 takes a quarter of the time.
    blend_reduction: int = 1

    # Trained on close-ups of heads as well: a small head can be generated again in a crop of its own.
    refines_heads: bool = False
    # Hands and feet can be generated again, in crops of the upper and the lower half of the body.
    refines_halves: bool = False

    heatmap_sigma: float = 6.0  # standard deviation of a joint's Gaussian, in pixels of the frame
    frame_aspect: float = 1.0  # width / height of the image crop that is resized to the frame

    def __post_init__(self) -> None:
        _check_types(self)
        height, width = self.image_size
        if height % 32 or width % 32 or not 32 <= min(height, width) <= max(height, width) <= _LARGEST["image side"]:
            raise ConfigError(
                f"image_size must be multiples of 32 up to {_LARGEST['image side']}, got {height}x{width}"
            )
        if self.flow_reduction not in (1, 2, 4):
            raise ConfigError(f"flow_reduction must be 1, 2 or 4, got {self.flow_reduction}")
        unit = 32 * self.flow_reduction
        if height % unit or width % unit:
            what = f"image_size must be multiples of {unit} with flow_reduction {self.flow_reduction}"
            raise ConfigError(f"{what}, got {height}x{width}")
        if height == width == unit:  # one value per channel in the bottleneck: no InstanceNorm
            raise ConfigError(f"image_size must be more than {unit}x{unit}")
        self._check_task()
        if self.attention_reduction not in get_args(Reduction):
            raise ConfigError(f"unknown attention_reduction: {self.attention_reduction!r}")
        strides = [level.stride for level in self.levels]
        if strides != sorted(set(strides), reverse=True) or not strides:
            raise ConfigError(f"levels must go from coarse to fine without repeats, got strides {strides}")
        if self.up_kernel not in (3, 4):
            raise ConfigError(f"up_kernel must be 3 or 4, got {self.up_kernel}")
        if self.flow_depth not in (4, 5):  # attention levels need stride 8, frames are multiples of 32
            raise ConfigError(f"flow_depth must be 4 or 5, got {self.flow_depth}")
        if not 1 <= self.bottleneck <= _LARGEST["bottleneck"]:
            raise ConfigError(f"bottleneck must lie between 1 and {_LARGEST['bottleneck']}, got {self.bottleneck}")
        for name in ("width", "flow_width", "match_width"):
            if not 4 <= getattr(self, name) <= _LARGEST["width"]:
                raise ConfigError(f"{name} must lie between 4 and {_LARGEST['width']}, got {getattr(self, name)}")
        for name in ("max_width", "flow_max_width", "match_max_width"):
            if not 4 <= getattr(self, name) <= _LARGEST["max_width"]:
                raise ConfigError(f"{name} must lie between 4 and {_LARGEST['max_width']}, got {getattr(self, name)}")
        if not 1 <= self.structure_channels <= _LARGEST["structure_channels"]:
            raise ConfigError(f"structure_channels must lie between 1 and 512, got {self.structure_channels}")
        if not 0 <= self.view_width <= _LARGEST["width"]:
            raise ConfigError(f"view_width must lie between 0 and {_LARGEST['width']}, got {self.view_width}")
        if not 0.1 <= self.frame_aspect <= 10:
            raise ConfigError(f"frame_aspect must lie between 0.1 and 10, got {self.frame_aspect}")
        if not 0 < self.heatmap_sigma <= 100:
            raise ConfigError(f"heatmap_sigma must lie between 0 and 100 px, got {self.heatmap_sigma}")

    def hidden(self, channels: int) -> int:
        """Channels inside a block of the renderer that puts out `channels`."""
        return min(channels, max(_LEAST_HIDDEN, channels // self.bottleneck))

    @property
    def is_square(self) -> bool:
        """Whether the frame shows a square crop of an image at its own aspect ratio."""
        return self.image_size[0] == self.image_size[1] and self.frame_aspect == 1

    @property
    def has_depth(self) -> bool:
        """Whether structures also hold the nearness of joints (conditioning/structure.py)."""
        return self.task == "pose" and self.structure_channels == 36

    @property
    def drawn_channels(self) -> int:
        """Channels of a structure that convolutions see. Depths are used by `networks.priors.solids` only."""
        return 18 if self.has_depth else self.structure_channels

    @property
    def has_flow(self) -> bool:
        """Whether the generator has a flow estimator."""
        return self.sampler in ("local", "bilinear")

    def _check_task(self) -> None:
        """Raises ConfigError for an unknown task, and for settings that do not fit the task."""
        if self.task not in get_args(Task) or self.sampler not in get_args(Sampler):
            raise ConfigError(f"unknown task or sampler: {self.task!r}, {self.sampler!r}")
        if self.sampler == ("none" if self.task == "view" else "pixels"):
            known = ", ".join(name for name in get_args(Sampler) if name != self.sampler)
            raise ConfigError(f"{self.task} models have no sampler {self.sampler!r}", hint=f"known: {known}")
        if self.flow_prior not in get_args(FlowPrior):
            raise ConfigError(
                f"unknown flow_prior: {self.flow_prior!r}", hint=f"known: {', '.join(get_args(FlowPrior))}"
            )
        joints = self.task == "pose" and self.structure_channels in (18, 36)
        if self.flow_prior in ("limbs", "matches", "solids") and not joints:
            raise ConfigError(f"flow_prior {self.flow_prior} is for pose models with 18 joints")
        if self.flow_prior == "curves" and (self.task != "face" or self.structure_channels not in (16, 17)):
            raise ConfigError("flow_prior curves is for face models with 16 or 17 structure channels")
        if (self.flow_prior == "solids") != self.has_depth:
            raise ConfigError("flow_prior solids and 36 structure channels (joints with depth) go together")
        if self.flow_prior == "solids" and self.levels[-1].stride != 2:
            raise ConfigError("flow_prior solids needs an attention level at stride 2")
        if self.flow_prior == "volume" and self.task != "view":
            raise ConfigError("flow_prior volume is for view models")
        if self.flow_prior == "volume" and self.flow_reduction > 2:
            raise ConfigError("flow_prior volume needs a flow_reduction of 1 or 2")
        if self.pixel_blend and (not self.has_flow or self.levels[-1].stride != 2):
            raise ConfigError("pixel_blend is for models with a flow and an attention level at stride 2")
        if self.blend_reduction not in (1, 2):
            raise ConfigError(f"blend_reduction must be 1 or 2, got {self.blend_reduction}")
        if (self.refines_heads or self.refines_halves) and (self.task != "pose" or not self.is_square):
            raise ConfigError("refines_heads and refines_halves are for pose models whose frame is a square")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` gives an equal config."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        """Builds a config from parsed JSON; old names of settings are accepted. Raises ConfigError otherwise."""
        if not isinstance(values, dict):
            raise ConfigError("not a model description")
        known = {field.name for field in fields(cls)}
        plain = {_RENAMED.get(name, name): value for name, value in values.items()}
        if unknown := sorted(set(plain) - known):
            raise ConfigError(f"unknown model settings: {', '.join(unknown)}", hint="made by a newer gfla?")
        try:
            plain["levels"] = tuple(Level(**level) for level in plain["levels"])
            height, width = (operator.index(side) for side in plain["image_size"])
            plain["image_size"] = height, width
            return cls(**plain)
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"not a model description: {error}") from error


POSE_FASHION = ModelConfig(
    task="pose",
    image_size=(256, 256),
    structure_channels=18,
    levels=(Level(stride=8, patch=3), Level(stride=4, patch=5)),
    frame_aspect=176 / 256,  # DeepFashion's portrait images are resized to a square
)
POSE_MARKET = replace(POSE_FASHION, image_size=(128, 64), levels=(Level(stride=4, patch=3),), frame_aspect=64 / 128)
POSE_PEOPLE = replace(
    POSE_FASHION,
    structure_channels=36,
    # As many channels as scores of a patch need, see the cards of the models.
    levels=(
        Level(stride=8, patch=3, hidden=16),
        Level(stride=4, patch=5, hidden=16),
        Level(stride=2, patch=3, hidden=16),
    ),
    width=32,
    max_width=128,
    flow_width=24,
    flow_max_width=144,
    flow_depth=4,
    source_norm=False,
    structure_norm=False,
    flow_reduction=2,
    flow_prior="solids",
    attention_reduction="sum",
    up_kernel=4,
    pixel_blend=True,
    refines_heads=True,
    refines_halves=True,
    frame_aspect=1.0,
)
FACE = replace(POSE_FASHION, task="face", structure_channels=16, frame_aspect=1.0)
BODY = replace(FACE, task="body", structure_channels=20)
# flow_max_width 96, not 144: two reference images need two encoders, and the model has to fit into 10 MB.
FACE_PEOPLE = replace(
    POSE_PEOPLE,
    task="face",
    structure_channels=17,
    flow_max_width=96,
    flow_depth=5,
    flow_prior="curves",
    up_kernel=3,
    blend_reduction=2,
    refines_heads=False,
    refines_halves=False,
)
BODY_PEOPLE = replace(FACE_PEOPLE, task="body", structure_channels=20, flow_prior="none")
VIEW = replace(FACE, task="view", structure_channels=21)
# flow_max_width 128, not 144: the view estimator takes space.
VIEW_CHAIRS = replace(
    POSE_PEOPLE,
    task="view",
    structure_channels=21,
    levels=(replace(POSE_PEOPLE.levels[0], hidden=128), *POSE_PEOPLE.levels[1:]),  # 16 are too few at stride 8
    flow_max_width=128,
    flow_prior="volume",
    refines_heads=False,
    refines_halves=False,
    view_width=16,
)

PRESETS: dict[str, ModelConfig] = {
    "pose-fashion": POSE_FASHION,
    "pose-market": POSE_MARKET,
    "pose-people": POSE_PEOPLE,
    "face": FACE,
    "face-people": FACE_PEOPLE,
    "body": BODY,
    "body-people": BODY_PEOPLE,
    "view-car": VIEW,
    "view-chair": VIEW,
    "view-chairs": VIEW_CHAIRS,
}


def preset(name: str) -> ModelConfig:
    """The preset of that name. Raises UsageError that lists the known ones."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset: {name}", hint=f"known: {', '.join(PRESETS)}")
    return PRESETS[name]
