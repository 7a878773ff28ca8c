"""How far a model's flows are from the ground truth of the renderer, and what its images would be with that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from gfla_cli.arrays import Image, Points
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.datasets.chairs import DIFFERENCES, UnseenObjects
from gfla_cli.datasets.people import PeoplePairs, RenderPlan
from gfla_cli.datasets.sample import ViewPair
from gfla_cli.errors import UsageError
from gfla_cli.evaluation.loop import COPY, REAL
from gfla_cli.evaluation.metrics import Measures, PoseJudge, hole_share
from gfla_cli.evaluation.scores import column_means
from gfla_cli.inference.device import Placement
from gfla_cli.io.image import to_uint8
from gfla_cli.losses.image import Vgg19
from gfla_cli.networks.flow import Flow
from gfla_cli.networks.generator import PoseGenerator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.limbs import limb_flow
from gfla_cli.networks.priors.solids import BodyPrior
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.training.batch import GroundTruthFlow, mix_ground_truth_flows
from gfla_cli.training.tasks.pose import PoseBatch, pose_batch
from gfla_cli.training.tasks.view import view_batch

_UNSEEN = 77  # a seed of characters that no recipe uses
_PAIRS_OF_ONE = 2  # character
_FINEST = 64  # side of the grid of ground-truth flows, as in training
_FEWEST = 20  # cells that both images of a pair must show


class _Pair(NamedTuple):
    """What is measured of one pair, all of batch size 1."""

    flows: dict[str, Tensor]  # way to find it -> (1, 2, g, g) in pixels of the frame
    true_flow: GroundTruthFlow
    images: dict[str, Tensor]  # what it is made by -> (1, 3, H, W)
    real: Tensor
    more: Callable[[Image], dict[str, float]]  # further figures of an image


@torch.inference_mode()
def measure_flows(
    model: str | Path, pack: Path | None, placement: Placement, *, pairs: int, vgg: Vgg19 | None, pck: bool = False
) -> dict[str, Any]:
    """Measures on rendered people or chairs that no training saw. Raises UsageError for a model without such flows.

    `pack`: what people are rendered from; view models need none. `pck`: find the pose in every image, and in the real
    one, too.

    Gives JSON values: the number of `pairs`; `errors`, for each way to find flows its `name`, and `mean` and `median`
    distance from the ground truth in pixels of the frame, where both images show the same; `pictures`, by the `name`
    of the flows they are made by, with their `figures`. All are means over the pairs.
    """
    bundle = load_bundle(model)
    network, config = bundle.network.to(placement.device), bundle.config
    if not isinstance(network, PoseGenerator | ViewGenerator) or not config.has_flow or not config.is_square:
        raise UsageError(
            f"{bundle.name}: its flows cannot be compared with those of rendered people or chairs",
            hint="pose and view models with a square frame and a flow can, such as pose-people and view-chairs",
        )
    if isinstance(network, ViewGenerator):
        if pck:
            raise UsageError("--pck is for pose models", hint="leave it out")
        measured = _chairs(network, placement, pairs)
    elif pack is None:
        raise UsageError(f"{bundle.name}: people are rendered from a pack", hint="gfla data humans makes one")
    else:
        measured = _people(network, pack, placement, pairs, PoseJudge(rendered=False) if pck else None)
    measures = Measures(("ssim", "l1", "vgg") if vgg else ("ssim", "l1"), placement.device, vgg=vgg)
    errors: dict[str, list[tuple[float, float]]] = {}
    images: dict[str, list[dict[str, float]]] = {}
    for pair in measured:
        for name, flow in pair.flows.items():
            if (error := _error(flow, pair.true_flow, config.image_size[0])) is not None:
                errors.setdefault(name, []).append(error)
        for name, image in pair.images.items():
            (figures,) = measures.figures(image.float().clamp(-1, 1), pair.real)
            images.setdefault(name, []).append(figures | pair.more(to_uint8(image)))
    means = {name: np.mean(values, axis=0).tolist() for name, values in errors.items()}
    return {
        "pairs": pairs,
        "errors": [{"name": name, "mean": mean, "median": median} for name, (mean, median) in means.items()],
        "pictures": [{"name": name, "figures": column_means(rows)} for name, rows in images.items()],
    }


def _people(
    network: PoseGenerator, pack: Path, placement: Placement, pairs: int, judge: PoseJudge | None
) -> Iterator[_Pair]:
    """The `judge` wants the joints that the network was given."""
    config = network.config
    with TemporaryDirectory() as cache:
        plan = RenderPlan(seed=_UNSEEN, characters=-(-pairs // _PAIRS_OF_ONE), size=config.image_size[0])
        grid = min(_FINEST, plan.size // 2)
        data = PeoplePairs(pack, Path(cache), plan, size=plan.size, grid=grid, seed=_UNSEEN, depth=config.has_depth)
        for number in range(pairs):
            pair = data[number]
            batch = pose_batch(default_collate([pair]), config, placement.device)
            source, structure = batch.source_image, batch.target_structure
            with placement.autocast:
                bodies = network.body_prior(source, batch.source_structure, structure)
                flows, found = _flows(network, batch, bodies)
                known = mix_ground_truth_flows(flows, batch.true_flow.at, 1.0)
                made = {COPY: source} if judge is None else {REAL: batch.target_image, COPY: source}
                made["its own flows"] = network.render(source, structure, flows, bodies).image
                made["the renderer's flows"] = network.render(source, structure, known, bodies).image

            def more(image: Image, wanted: Points = pair.target_points[:, :3]) -> dict[str, float]:
                return {"pck": judge.figures(image, wanted)["pck"]} if judge is not None else {}

            yield _Pair(found, batch.true_flow, made, batch.target_image, more)


def _chairs(network: ViewGenerator, placement: Placement, pairs: int) -> Iterator[_Pair]:
    size = network.config.image_size[0]
    data = UnseenObjects(size, min(_FINEST, size // 2))
    for number in range(pairs):
        # Every pair shows another chair; the angles of the turns follow each other.
        pair = data[number * (len(DIFFERENCES) + 1)]
        batch = view_batch(default_collate([pair]), placement.device)
        inputs = batch.source_image, batch.source_code, batch.target_code
        with placement.autocast:
            found = network.estimate_flow(*inputs)
            known = mix_ground_truth_flows(found.flows, batch.true_flow.at, 1.0)
            only_offsets = [flow._replace(mask=own.mask) for flow, own in zip(known, found.flows, strict=True)]
            ways = {
                "its own flows": found.flows,
                "the renderer's flows, its own masks": only_offsets,
                "the renderer's flows": known,
            }
            made = {COPY: batch.source_image}
            made |= {n: network.render(*inputs[::2], found._replace(flows=flows)).image for n, flows in ways.items()}
        flows = {"no motion": torch.zeros_like(batch.true_flow.offset)}
        if found.shape is not None:
            grid = (found.shape.opacity.shape[2], found.shape.opacity.shape[3])
            flows["the volume"] = found.shape.offset_at(*grid) * (size / grid[1])
        finest = found.flows[-1].offset
        flows["the network"] = finest * (size / finest.shape[-1])

        def more(image: Image, pair: ViewPair = pair) -> dict[str, float]:
            return {"holes": hole_share(image, pair.target_image, pair.target_mask)}

        yield _Pair(flows, batch.true_flow, made, batch.target_image, more)


def _flows(network: PoseGenerator, batch: PoseBatch, bodies: BodyPrior | None) -> tuple[list[Flow], dict[str, Tensor]]:
    """The network's flows, and all intermediate ones by name, (1, 2, g, g) in pixels of the frame."""
    inputs = batch.source_image, batch.source_structure, batch.target_structure
    joints = [structure[:, : network.config.drawn_channels] for structure in inputs[1:]]
    found = {"no motion": torch.zeros_like(batch.true_flow.offset), "the joints alone": limb_flow(*joints)}
    reduction = network.flow_estimator.reduction
    if bodies is not None:
        found["solids"] = bodies.flow() * reduction
    estimated = network.estimate_flow(*inputs, bodies)
    flows = estimated.flows
    if estimated.choice is not None:
        chosen = F.pad(estimated.choice.candidates, [0, 0, 0, 0, 0, 0, 0, 1])  # standing still
        weight = estimated.choice.logits.softmax(dim=1)[:, :, None]
        found["chosen"] = (chosen * weight).sum(dim=1) * (PRIOR_STRIDE * reduction)
    found["the network"] = flows[-1].offset * (batch.source_image.shape[-1] / flows[-1].offset.shape[-1])
    return flows, found


def _error(flow: Tensor, true_flow: GroundTruthFlow, frame: int) -> tuple[float, float] | None:
    """Mean and median over the cells that both images show; None when these are too few."""
    size = (true_flow.offset.shape[2], true_flow.offset.shape[3])
    offset, weight, visible = true_flow.at(*size)
    shown = (visible > 0.5) & (weight > 0.5)
    if int(shown.sum()) < _FEWEST:
        return None
    cell = frame / size[1]
    error = (F.interpolate(flow, size=size, mode="bilinear") - offset * cell).norm(dim=1, keepdim=True)[shown]
    return float(error.mean()), float(error.median())
