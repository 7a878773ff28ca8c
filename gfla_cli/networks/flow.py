"""The global flow field estimator: for every target position, where in the source to look (paper, Sec. 3.1).

Offsets w are (x, y), in pixels of their own feature grid, and point from target to source. The mask m in [0, 1] says
how much to take from there: 1 takes it all from the source, 0 generates it.

B batch, H x W image size, h x w = H/stride x W/stride grid of an attention level, R reference images that are warped
at once. A structure is the paper's pose map p: (B, S, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.conditioning.face_map import IRISES, LABELS
from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import (
    DecoderBlock,
    ResidualBlock,
    Skip,
    encoder_blocks,
    features_after,
    side_by_side,
    widths,
)
from gfla_cli.networks.priors import PRIOR_STRIDE, flow_prior_features
from gfla_cli.networks.priors.curves import Face, curve_priors, read_face
from gfla_cli.networks.priors.limbs import limb_flow
from gfla_cli.networks.priors.matching import FlowMatcher
from gfla_cli.networks.priors.solids import BODY_CHANNELS, SOLIDS, BodyPrior, PoseRefiner, compute_body_prior
from gfla_cli.ops.warp import bilinear_warp, channel_softmax, downsample, max_pooled, upsample

# Channels of `_Prior.features`. All priors: warped image (3) and flow (2). "matches": also the spread of the matches.
# "solids": also the weights of the candidates, the body maps of target and warped source, and the visibility.
_PRIOR_CHANNELS = {"none": 0, "limbs": 5, "matches": 6, "curves": 5, "solids": 5 + SOLIDS + 1 + 2 * BODY_CHANNELS + 1}


class Flow(NamedTuple):
    """Flow field and occlusion mask of one attention level: w and m of the paper."""

    offset: Tensor  # (B, 2, h, w) pixels of this grid, target to source
    mask: Tensor  # (B, 1, h, w) in [0, 1]: 1 = take it from the source, 0 = generate it


class Choice(NamedTuple):
    """Which solid each target position belongs to, as the estimator chose (flow prior "solids")."""

    candidates: Tensor  # (B, N, 2, h, w) offsets to the source, pixels of this grid
    logits: Tensor  # (B, N + 1, h, w) of the candidates, and of zero motion


class Estimated(NamedTuple):
    """All outputs of a flow estimator."""

    levels: list[list[Flow]]  # coarse to fine; each holds one Flow per reference
    choice: Choice | None = None  # with the flow prior "solids"


class _Prior(NamedTuple):
    """The flow to one source image that the structures give before the network looks. H' x W' is the reduced frame."""

    image: Tensor  # (B, 3, H', W') the source image as the estimator sees it
    flow: Tensor  # (B, 2, H'/2, W'/2) pixels of the reduced frame
    full_flow: Tensor  # (B, 2, H/2, W/2) pixels of the full frame
    visibility: Tensor | None = None  # (B, 1, H, W) in [0, 1]: the upper limit of a mask
    spread: Tensor | None = None  # (B, 1, H'/2, W'/2) pixels of the reduced frame; standard deviation of the matches
    bodies: BodyPrior | None = None  # of the prior "solids"

    def corrected_by(self, flow: Flow, stride: int) -> Flow:
        """Adds a correction, (B, 2, H/stride, W/stride), to this prior, and limits its mask to what is visible."""
        offset = flow.offset + downsample(self.full_flow, stride // PRIOR_STRIDE) / stride
        mask = flow.mask if self.visibility is None else flow.mask * downsample(self.visibility, stride)
        return Flow(offset, mask)

    def features(self) -> Tensor:
        """What the estimator sees of this prior: (B, _PRIOR_CHANNELS, H', W')."""
        parts = [flow_prior_features(self.image, self.flow)]
        if self.spread is not None:
            parts.append(upsample(self.spread, PRIOR_STRIDE) / self.image.shape[-2])
        if (bodies := self.bodies) is not None:
            warped = bilinear_warp(bodies.source, self.flow / PRIOR_STRIDE)
            maps = [channel_softmax(bodies.logits), bodies.target, warped, bodies.visibility]
            parts.append(upsample(side_by_side(maps, self.image), PRIOR_STRIDE))
        return side_by_side([part.to(parts[0].dtype) for part in parts], self.image)


class FaceReading(NamedTuple):
    """What a flow estimator derives from one face map alone. In a clip each map serves two frames."""

    reduced: Tensor  # (B, S, H', W') of the reduced frame
    face: Face


class FlowEstimator(nn.Module):
    """(w, m) = F(x_s, p_s, p_t): a small U-Net with one (offset, mask) head per attention level, coarse to fine.

    - `references` > 1 predicts that many flows at each level from one set of features.
    - `code_channels` > 0 adds a vector (the change of view) at the bottleneck.
    - `config.flow_reduction` > 1 reduces the inputs by that factor, and upsamples the flows to the full frame.
    - `config.flow_prior` makes the flows corrections of a prior. The estimator also sees the prior, and masks never
      exceed its visibility:
        "limbs"    each limb moves with its joints (`priors/limbs.py`);
        "curves"   each part of a face moves with its curves (`priors/curves.py`); two sources;
        "matches"  positions that a second network describes alike (`priors/matching.py`);
        "solids"   one candidate flow per part of a 3-D body (`priors/solids.py`), whose joints a second network
                   corrects (`PoseRefiner`). The estimator also chooses among the candidates.

    `flow_reduction` and `flow_prior` are not in the paper.
    """

    def __init__(
        self, config: ModelConfig, input_channels: int, *, references: int = 1, code_channels: int = 0
    ) -> None:
        super().__init__()
        self.references = references
        self.prior = config.flow_prior
        self.drawn_channels = config.drawn_channels
        input_channels += _PRIOR_CHANNELS[self.prior] * references
        if self.prior == "matches":
            self.matcher = FlowMatcher(config)
        # Training on frames of another height changes `reduction`, so that the network still sees the same scale.
        self.full_height, self.full_reduction = config.image_size[0], config.flow_reduction
        self.reduction = config.flow_reduction
        self.face_channels = config.structure_channels if config.task == "face" else 0
        width = widths(config.flow_width, config.flow_max_width, config.flow_depth)
        self.down = encoder_blocks([input_channels, *width], first_normed=config.structure_norm)
        self.bottleneck = None
        if code_channels:
            joint = width[-1] + code_channels
            self.bottleneck = ResidualBlock(joint, width[-1], hidden=joint, normed=config.structure_norm)
        # One step up per stride, from the bottleneck to the finest attention level, with a skip connection each.
        self.strides = [1 << i for i in range(config.flow_depth - 1, 0, -1) if 1 << i >= config.levels[-1].stride]
        at_stride = {2 << i: channels for i, channels in enumerate(width)}
        self.up = nn.ModuleDict()
        self.skip = nn.ModuleDict()
        self.gate = nn.ModuleDict()
        self.offset_head = nn.ModuleDict()
        self.mask_head = nn.ModuleDict()
        attended = {level.stride for level in config.levels}
        for stride in self.strides:
            channels = at_stride[stride]
            self.up[str(stride)] = DecoderBlock(at_stride[2 * stride], channels, hidden=channels)
            self.skip[str(stride)] = Skip(channels)
            if code_channels and config.code_gates:
                self.gate[str(stride)] = nn.Conv2d(code_channels, channels, 1)
            if stride in attended:
                self.offset_head[str(stride)] = nn.Conv2d(channels, 2 * references, 3, padding=1)
                self.mask_head[str(stride)] = nn.Conv2d(channels, references, 3, padding=1)
        if self.prior == "solids":
            self.refiner = PoseRefiner()
            self.choice_head = nn.Conv2d(at_stride[PRIOR_STRIDE], SOLIDS + 1, 3, padding=1)

    def forward(
        self, inputs: Sequence[Tensor], code: Tensor | None = None, faces: Sequence[FaceReading] | None = None
    ) -> list[list[Flow]]:
        """Flows per level, coarse to fine; each level holds one Flow per reference.

        `inputs` are images (B, 3, H, W) and structures (B, S, H, W) in the order the network was built for;
        `code` is (B, code_channels, 1, 1). `faces`: what `read_face` gave for the structures, in their order; pass it
        to avoid recomputing it.
        """
        if self.prior == "none":
            return self.decode(self.encode(inputs), code)
        return self.estimate(inputs, faces=faces).levels

    def estimate(
        self, inputs: Sequence[Tensor], bodies: BodyPrior | None = None, faces: Sequence[FaceReading] | None = None
    ) -> Estimated:
        """Like `forward`, for networks with a prior. Pass what `body_prior` gave to avoid recomputing it."""
        if self.prior == "curves" and faces is None:
            faces = [self.read_face(structure) for structure in inputs[::2]]
        if faces:
            reduced = [faces[i // 2].reduced if i % 2 == 0 else self._reduce(x) for i, x in enumerate(inputs)]
        elif bodies is not None:
            reduced = [self._reduce(inputs[0]), bodies.source_structure, bodies.target_structure]
        else:
            reduced = [self._reduce(x) for x in inputs]
        with torch.no_grad():  # the prior is a constant to the estimator; the refiner has losses of its own
            priors = self._priors(inputs, reduced, bodies, faces)
        drawn = [self._drawn(x) for x in reduced]
        x, *skipped = self._encode_reduced([*drawn, *(prior.features() for prior in priors)])
        features = self._up(x, skipped, None)
        choice = None
        if self.prior == "solids":
            choice, priors = self._choose(features[PRIOR_STRIDE], priors[0])
        return Estimated([self._flows(x, stride, priors) for stride, x in features.items()], choice)

    def read_face(self, structure: Tensor) -> FaceReading:
        """What the flow prior "curves" derives from one face map (B, S, H, W) alone."""
        return FaceReading(self._reduce(structure), read_face(structure))  # curves of the full frame: lids are thin

    def body_prior(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> BodyPrior:
        """The flow prior "solids", with refined joints, for an image (B, 3, H, W) and two structures."""
        return self._body_prior(*(self._reduce(x) for x in (source_image, source_structure, target_structure)))

    def _body_prior(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> BodyPrior:
        refine = partial(self.refiner, source_image, self._drawn(source_structure))
        return compute_body_prior(source_structure, target_structure, refine)

    def _drawn(self, x: Tensor) -> Tensor:
        """The channels of an image or a structure that the convolutions see: all but the depths."""
        return x[:, : self.drawn_channels] if self.prior == "solids" else x

    def _priors(
        self,
        inputs: Sequence[Tensor],
        reduced: Sequence[Tensor],
        bodies: BodyPrior | None,
        faces: Sequence[FaceReading] | None,
    ) -> list[_Prior]:
        """One prior per reference, from inputs of the full and of the reduced frame."""
        if faces:
            face, *others = (reading.face for reading in faces)
            found = curve_priors(others, face, inputs[0])
            return [
                _Prior(image, downsample(prior.flow, self.reduction) / self.reduction, prior.flow, prior.visibility)
                for image, prior in zip((reduced[1], reduced[3]), found, strict=True)
            ]
        image, source, target = reduced
        spread = None
        if self.prior == "solids":
            bodies = bodies.detached() if bodies is not None else self._body_prior(image, source, target)
            flow = bodies.flow()
        elif self.prior == "matches":
            flow, spread = self.matcher(image, source, target, limb_flow(source, target)).flow()
        else:
            flow = limb_flow(source, target)
        return [_Prior(image, flow, upsample(flow, self.reduction) * self.reduction, None, spread, bodies)]

    def _choose(self, x: Tensor, prior: _Prior) -> tuple[Choice, list[_Prior]]:
        """Changes the logits of the candidates. Returns the choice, and the prior with the chosen flow.

        `x` are the features at PRIOR_STRIDE.
        """
        assert prior.bodies is not None
        with torch.autocast(x.device.type, enabled=False):
            logits = prior.bodies.logits + self.choice_head(x.float())
            bodies = prior.bodies._replace(logits=logits)
            # Upsampled before the softmax: then the flow has a sharp edge where one part passes in front of another.
            flow = bodies.upsampled(self.reduction).flow()
            with torch.no_grad():
                step, wrong = bodies.detour(downsample(flow, self.reduction) / self.reduction)
            # Nearest: two neighbouring steps may lead to both sides of an arm, and their mean onto the arm.
            step = F.interpolate(step, scale_factor=self.reduction, mode="nearest")
            chosen = prior._replace(
                full_flow=flow + step * self.reduction,
                visibility=upsample(1 - wrong, PRIOR_STRIDE * self.reduction),
            )
            return Choice(bodies.candidates / PRIOR_STRIDE, logits), [chosen]

    def encode(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Everything that does not depend on the code: bottleneck features, then skip features, coarse to fine."""
        return self._encode_reduced([self._reduce(x) for x in inputs])

    def _encode_reduced(self, reduced: Sequence[Tensor]) -> list[Tensor]:
        features = features_after(self.down, side_by_side(reduced))
        at_stride = {2 << i: x for i, x in enumerate(features)}
        return [features[-1], *(self.skip[str(stride)](at_stride[stride]) for stride in self.strides)]

    def decode(self, encoded: Sequence[Tensor], code: Tensor | None = None) -> list[list[Flow]]:
        """The flows from the result of `encode`; see `forward`. Raises ValueError if a code is needed and missing."""
        x, *skipped = encoded
        if self.bottleneck is not None:
            if code is None:
                raise ValueError("this flow estimator needs a code")
            x = self.bottleneck(torch.cat([x, code.expand(-1, -1, *x.shape[-2:])], dim=1))
        return [self._flows(x, stride, []) for stride, x in self._up(x, skipped, code).items()]

    def _up(self, x: Tensor, skipped: Sequence[Tensor], code: Tensor | None) -> dict[int, Tensor]:
        """Features at the strides of the attention levels, coarse to fine."""
        features = {}
        for stride, skip in zip(self.strides, skipped, strict=True):
            if str(stride) in self.gate and code is not None:
                skip = skip * (1 + self.gate[str(stride)](code))
            x = self.up[str(stride)](x) + skip
            if str(stride) in self.offset_head:
                features[stride] = x
        return features

    def _flows(self, x: Tensor, stride: int, priors: Sequence[_Prior]) -> list[Flow]:
        # Positions need more digits than bfloat16 has (its steps are 1/8 px from 16 px on), so the heads never use it.
        with torch.autocast(x.device.type, enabled=False):
            offset = upsample(self.offset_head[str(stride)](x.float()), self.reduction) * self.reduction
            mask = upsample(self.mask_head[str(stride)](x.float()).sigmoid(), self.reduction)
            flows = [Flow(o, m) for o, m in zip(offset.split(2, dim=1), mask.split(1, dim=1), strict=True)]
            if not priors:
                return flows
            return [prior.corrected_by(flow, stride) for prior, flow in zip(priors, flows, strict=True)]

    def _reduce(self, x: Tensor) -> Tensor:
        """An image or a structure as it would be on a smaller frame."""
        if self.reduction == 1:
            return x
        is_face = x.shape[1] == self.face_channels
        return downsample_face_map(x, self.reduction) if is_face else downsample(x, self.reduction)


def downsample_face_map(structure: Tensor, factor: int) -> Tensor:
    """(B, 16 or 17, H, W) to (B, 16 or 17, H/factor, W/factor), about as a face map would be drawn at that size.

    Lines stay one pixel wide. Distances, which are shares of the frame, and irises are averaged. Labels are sampled.
    """
    lines = max_pooled(structure[:, :1], factor)
    distances = downsample(structure[:, 1:LABELS], factor)
    labels = structure[:, LABELS : LABELS + 1, ::factor, ::factor]
    parts = [lines, distances, labels]
    if structure.shape[1] > IRISES:
        parts.append(downsample(structure[:, IRISES:], factor))
    return torch.cat(parts, dim=1)
