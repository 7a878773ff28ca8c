"""Global flow: for every target position, where in the source should we look?  (paper, Sec. 3.1)

Offsets are (x, y), in pixels of their own feature grid, and point from target to source.
B batch, C channels, H x W image size, h x w = H/stride x W/stride, R source pictures referred to at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.config import ModelConfig
from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock, Skip, widths
from gfla_cli.networks.priors.curves import curve_guesses
from gfla_cli.networks.priors.features import GUESS_STRIDE, enlarged, reduced, seen_through
from gfla_cli.networks.priors.limbs import limb_flow
from gfla_cli.networks.priors.matching import FlowMatcher
from gfla_cli.networks.priors.refiner import PoseRefiner
from gfla_cli.networks.priors.solids import BODY_CHANNELS, SOLIDS, BodyPrior, body_prior
from gfla_cli.ops.warp import bilinear_warp

# What an estimator sees of a prior: the picture through that flow and the flow; of matches also how sure they are; of
# solids also the weights of the candidates, both body maps, and what is visible.
_PRIOR_CHANNELS = {"none": 0, "limbs": 5, "matches": 6, "curves": 5, "solids": 5 + SOLIDS + 1 + 2 * BODY_CHANNELS + 1}


class Flow(NamedTuple):
    """Where to look in the source, and how far to trust it. A tuple, which torch.export unpacks unaided."""

    offset: Tensor  # (B, 2, h, w)
    mask: Tensor  # (B, 1, h, w)  1 = take it from the source, 0 = invent it


class Choice(NamedTuple):
    """Which solid each place of the target belongs to, as the estimator chose."""

    candidates: Tensor  # (B, N, 2, h, w) offsets to the source, pixels of this grid
    logits: Tensor  # (B, N + 1, h, w) of the candidates and of standing still


class Estimated(NamedTuple):
    """All that an estimator says."""

    levels: list[list[Flow]]  # coarse to fine; each holds one Flow per reference
    choice: Choice | None = None  # of the prior "solids"


class _Prior(NamedTuple):
    """The flow to one picture that structures tell by themselves."""

    picture: Tensor  # (B, 3, H', W') as the estimator sees it
    reduced: Tensor  # (B, 2, H'/2, W'/2) in pixels of that
    whole: Tensor  # (B, 2, H/2, W/2) in pixels of the whole frame
    shown: Tensor | None = None  # (B, 1, H, W) in [0, 1]: the most that a mask may take from the picture
    spread: Tensor | None = None  # (B, 1, H'/2, W'/2) how far apart the likely places are, in pixels of the reduced
    bodies: BodyPrior | None = None  # of the prior "solids"

    def corrected(self, flow: Flow, stride: int) -> Flow:
        """The flow (B, 2, H/stride, W/stride) that differs from this prior by `flow`."""
        offset = flow.offset + F.avg_pool2d(self.whole, stride // GUESS_STRIDE) / stride
        mask = flow.mask if self.shown is None else flow.mask * F.avg_pool2d(self.shown, stride)
        return Flow(offset, mask)

    def features(self) -> Tensor:
        """(B, _PRIOR_CHANNELS, H', W') what an estimator sees of it."""
        seen = [seen_through(self.picture, self.reduced)]
        if self.spread is not None:
            seen.append(enlarged(self.spread, GUESS_STRIDE) / self.picture.shape[-2])
        if (bodies := self.bodies) is not None:
            moved = bilinear_warp(bodies.source, self.reduced / GUESS_STRIDE)
            maps = [bodies.logits.softmax(dim=1), bodies.target, moved, bodies.visible]
            seen.append(enlarged(torch.cat(maps, dim=1), GUESS_STRIDE))
        return torch.cat([part.to(seen[0].dtype) for part in seen], dim=1)


class FlowEstimator(nn.Module):
    """A small U-Net with one (offset, mask) head per attention level, coarse to fine.

    `references` > 1 predicts that many flows at each level from one set of features. `code_channels` > 0 adds a
    vector (a change of view) at the bottleneck. With `reduction` > 1 (a setting of the model; training on frames of
    another size changes it) the inputs are reduced by so much, and the flows enlarged to the grids of the full frame.

    With a `flow_prior` the flows are corrections of what the structures say by themselves. The estimator sees that
    prior, too, and masks take no more than it says is there:

    - "limbs": a picture, its joints and the wanted joints (`limb_flow`);
    - "curves": a wanted face, and two pictures with their faces (`curve_guesses`);
    - "matches": places that a second network describes alike (`FlowMatcher`);
    - "solids": one candidate flow for each part of a body in three dimensions (`body_prior`), whose joints a second
      network corrects (`PoseRefiner`). The estimator also chooses among the candidates, at stride 2 of what it sees.
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
        self.full_height, self.full_reduction = config.image_size[0], config.flow_reduction
        self.reduction = config.flow_reduction
        self.face_channels = config.structure_channels if config.task == "face" else 0
        width = widths(config.flow_width, config.flow_max_width, config.flow_depth)
        self.down = nn.ModuleList(
            EncoderBlock(a, b, normed=config.structure_norm or i > 0)
            for i, (a, b) in enumerate(zip([input_channels, *width], width, strict=False))
        )
        self.bottleneck = None
        if code_channels:
            joint = width[-1] + code_channels
            self.bottleneck = ResidualBlock(joint, width[-1], hidden=joint, normed=config.structure_norm)
        # One step up per stride from the bottleneck to the finest attention level; features of that stride skip across.
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
            self.choice_head = nn.Conv2d(at_stride[GUESS_STRIDE], SOLIDS + 1, 3, padding=1)

    def forward(self, inputs: Sequence[Tensor], code: Tensor | None = None) -> list[list[Flow]]:
        """Flows per level, coarse to fine; each level holds one Flow per reference.

        `inputs` are (B, ·, H, W) pictures and structures in the order the network was built for; `code` is
        (B, code_channels, 1, 1).
        """
        if self.prior == "none":
            return self.decode(self.encode(inputs), code)
        return self.estimate(inputs).levels

    def estimate(self, inputs: Sequence[Tensor], bodies: BodyPrior | None = None) -> Estimated:
        """The same for networks with a prior. `bodies` of `bodies` avoids computing them again."""
        inputs = [self._drawn(x) for x in inputs] if bodies is not None else inputs  # depths are in the body maps
        small = [self._reduced(x) for x in inputs]
        with torch.no_grad():  # a prior is a fact to what corrects it; the refiner learns by losses of its own
            priors = self._priors(inputs, small, bodies)
        drawn = [self._drawn(x) for x in small]
        x, *skipped = self._features([*drawn, *(prior.features() for prior in priors)])
        features = self._up(x, skipped, None)
        choice = None
        if self.prior == "solids":
            choice, whole = self._chosen(features[GUESS_STRIDE], priors[0])
            priors = [priors[0]._replace(whole=whole)]
        return Estimated([self._flows(x, stride, priors) for stride, x in features.items()], choice)

    def bodies(self, picture: Tensor, structure: Tensor, wanted: Tensor) -> BodyPrior:
        """What a picture (B, 3, H, W) and two structures tell about the flow between them; for the prior "solids"."""
        return self._bodies(*(self._reduced(x) for x in (picture, structure, wanted)))

    def _bodies(self, picture: Tensor, structure: Tensor, wanted: Tensor) -> BodyPrior:
        return body_prior(structure, wanted, partial(self.refiner, picture, self._drawn(structure)))

    def _drawn(self, x: Tensor) -> Tensor:
        """What the network sees of a picture or a structure as it is."""
        return x[:, : self.drawn_channels] if self.prior == "solids" else x

    def _priors(
        self,
        inputs: Sequence[Tensor],
        reduced: Sequence[Tensor],
        bodies: BodyPrior | None,
    ) -> list[_Prior]:
        if self.prior == "curves":
            target, _, previous, _, reference = inputs
            found = curve_guesses([previous, reference], target)  # of the whole frame: lids are a pixel or two
            return [
                _Prior(picture, F.avg_pool2d(guess.flow, self.reduction) / self.reduction, guess.flow, guess.shown)
                for picture, guess in zip((reduced[1], reduced[3]), found, strict=True)
            ]
        picture, structure, wanted = reduced
        spread = None
        if self.prior == "solids":
            bodies = bodies.detached() if bodies is not None else self._bodies(picture, structure, wanted)
            flow = bodies.flow()
        elif self.prior == "matches":
            flow, spread = self.matcher(picture, structure, wanted, limb_flow(structure, wanted)).flow()
        else:
            flow = limb_flow(structure, wanted)
        return [_Prior(picture, flow, enlarged(flow, self.reduction) * self.reduction, None, spread, bodies)]

    def _chosen(self, x: Tensor, prior: _Prior) -> tuple[Choice, Tensor]:
        """The choice among the candidates, and its flow (B, 2, H/2, W/2) in pixels of the whole frame."""
        assert prior.bodies is not None
        with torch.autocast(x.device.type, enabled=False):
            logits = prior.bodies.logits + self.choice_head(x.float())
            bodies = prior.bodies._replace(logits=logits)
            # The softmax follows the enlargement, so that the flow breaks sharply where one part passes another.
            return Choice(bodies.candidates / GUESS_STRIDE, logits), bodies.enlarged(self.reduction).flow()

    def encode(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All that no code changes: the features at stride 32, and what skips across, coarse to fine."""
        return self._features([self._reduced(x) for x in inputs])

    def _features(self, reduced: Sequence[Tensor]) -> list[Tensor]:
        x = torch.cat(list(reduced), dim=1)
        features = {}
        for i, down in enumerate(self.down):
            x = down(x)
            features[2 << i] = x
        return [x, *(self.skip[str(stride)](features[stride]) for stride in self.strides)]

    def decode(self, encoded: Sequence[Tensor], code: Tensor | None = None) -> list[list[Flow]]:
        """The flows, from what `encode` gave; see `forward`."""
        x, *skipped = encoded
        if self.bottleneck is not None:
            if code is None:
                raise ValueError("this flow estimator needs a code")
            x = self.bottleneck(torch.cat([x, code.expand(-1, -1, *x.shape[-2:])], dim=1))
        return [self._flows(x, stride, []) for stride, x in self._up(x, skipped, code).items()]

    def _up(self, x: Tensor, skipped: Sequence[Tensor], code: Tensor | None) -> dict[int, Tensor]:
        """Features at the strides of the attention levels, coarse to fine."""
        features = {}
        for stride, across in zip(self.strides, skipped, strict=True):
            if str(stride) in self.gate and code is not None:
                across = across * (1 + self.gate[str(stride)](code))
            x = self.up[str(stride)](x) + across
            if str(stride) in self.offset_head:
                features[stride] = x
        return features

    def _flows(self, x: Tensor, stride: int, priors: Sequence[_Prior]) -> list[Flow]:
        # Positions need more digits than bfloat16 has (its steps are 1/8 px from 16 px on), so the heads never use it.
        with torch.autocast(x.device.type, enabled=False):
            offset = enlarged(self.offset_head[str(stride)](x.float()), self.reduction) * self.reduction
            mask = enlarged(self.mask_head[str(stride)](x.float()).sigmoid(), self.reduction)
            flows = [Flow(o, m) for o, m in zip(offset.split(2, dim=1), mask.split(1, dim=1), strict=True)]
            if not priors:
                return flows
            return [prior.corrected(flow, stride) for prior, flow in zip(priors, flows, strict=True)]

    def _reduced(self, x: Tensor) -> Tensor:
        """A picture or a structure as it would be on a smaller frame."""
        if self.reduction == 1:
            return x
        is_face = x.shape[1] == self.face_channels
        return reduced_face_structure(x, self.reduction) if is_face else reduced(x, self.reduction)


def reduced_face_structure(structure: Tensor, factor: int) -> Tensor:
    """(B, 16, H, W) to (B, 16, H/factor, W/factor), about as it would be drawn there.

    Lines stay a pixel wide, and labels are numbers that have no mean; distances are in shares of the frame.
    """
    lines = F.max_pool2d(structure[:, :1], factor)
    distances = F.avg_pool2d(structure[:, 1:-1], factor)
    labels = structure[:, -1:, ::factor, ::factor]
    return torch.cat([lines, distances, labels], dim=1)
