"""Pose bundles on the test pairs of a data set: what every model makes of each pair, ready to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from gfla_cli.arrays import Image
from gfla_cli.data.deepfashion import BenchmarkPairs, Layout
from gfla_cli.data.sample import PosePair
from gfla_cli.landmarks.drawing import draw_pose
from gfla_cli.landmarks.framing import whole_picture
from gfla_cli.landmarks.pose import Pose
from gfla_cli.media.image import read_image, to_tensor, to_uint8
from gfla_cli.media.overlap import overlapped
from gfla_cli.metrics.prepare import prepared
from gfla_cli.metrics.protocol import OWN, OWN_FILES, Protocol, Size
from gfla_cli.metrics.scores import spread
from gfla_cli.pipelines.compared_models import generated, open_compared
from gfla_cli.pipelines.detected_depths import DetectedDepths
from gfla_cli.pipelines.near_head import head_from_near
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.session import Session
from gfla_cli.training.batch import PoseBatch, to_device

COPY, REAL = "copy of the source", "the target itself"

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """Pictures of one pair to look at, all (H, W, 3) uint8."""

    pair: int
    pictures: dict[str, Image]


class Rendered(NamedTuple):
    """One pair as it is compared: `made` by name and `real` (1, 3, H, W) on the device, points in their pixels."""

    row: int
    made: dict[str, Tensor]
    real: Tensor
    source_points: Points  # (18, 3)
    target_points: Points


class ComparedPoses:
    """Pose bundles and the test pairs they are measured on, rendered one by one under a protocol."""

    def __init__(
        self,
        models: Sequence[str | Path],
        root: Path,
        layout: Layout,
        placement: Placement,
        protocol: Protocol = OWN,
        size: Size | None = None,
        *,
        near_head: bool = True,
    ) -> None:
        """`size`: what pictures are compared at, else the protocol's for this layout, else the network's frame.

        With `near_head` models that learnt to draw small heads once more from near. Raises BundleError when the models
        cannot be compared, DataError when the set cannot be read.
        """
        self.models = open_compared(models, placement, "pose")
        configs = [model.config for model in self.models.values()]
        self._config = next((config for config in configs if config.has_depth), configs[0])
        self._depths = DetectedDepths() if self._config.has_depth else None
        self.frame = self._config.image_size
        self.root, self.layout, self.placement = root, layout, placement
        self.size = size or protocol.size(layout.name) or self.frame
        self._with_heads = near_head and any(model.config.near_heads for model in self.models.values())
        self.protocol = OWN_FILES if protocol is OWN and self.size != self.frame else protocol
        self.pairs = BenchmarkPairs(root, "test", layout, self.frame)

    def rows(self, limit: int | None) -> list[int]:
        """Row numbers of that many pairs, of all of them without a limit."""
        return spread(range(len(self.pairs)), limit)

    def rendered(self, rows: Sequence[int]) -> Iterator[Rendered]:
        """The pairs of some rows, with the copy and every model's picture; read ahead, one in memory at a time."""
        for row, pair, source, files in overlapped(self._read(rows)):
            batch = to_device(default_collate([pair]), self._config, self.placement.device)
            made = {name: _made(model, batch) for name, model in self.models.items()}
            if source is not None:
                made = self._with_near_head(made, pair, source)
            pictures = [batch.source_image, batch.target_image]
            if files:
                pictures = [to_tensor(file).to(self.placement.device) for file in files]
                made = {name: self._as_file(picture) for name, picture in made.items()}
            scale = np.array([self.size[1] / self.frame[1], self.size[0] / self.frame[0], 1], np.float32)
            joints = [points[:, :3] for points in (pair.source_points, pair.target_points)]
            points = [np.where(p[:, 2:] > 0, p * scale, p) for p in joints]
            yield Rendered(row, {COPY: pictures[0], **made}, pictures[1], points[0], points[1])

    def pictures(self, name: str, row: int) -> dict[str, Image]:
        """Source, target pose, result and real picture of one pair and one score."""
        (pair,) = self.rendered([row])
        made = pair.real if name == REAL else pair.made[name]
        white = np.full((*self.size, 3), 255, np.uint8)
        pose = draw_pose(white, Pose(pair.target_points, self.size))
        real = to_uint8(pair.real)
        return {"source": to_uint8(pair.made[COPY]), "target pose": pose, "result": to_uint8(made), "real": real}

    def title(self, name: str, row: int) -> str:
        """What a pair is called, the same for every score."""
        return " to ".join(self.pairs.pairs[row])

    def examples(self, limit: int | None, count: int) -> list[Example]:
        """Some pairs of those that a run with this limit sees, spread over them, with everybody's pictures."""
        pairs = self.rendered(spread(self.rows(limit), count))
        return [Example(p.row, {n: to_uint8(i) for n, i in (p.made | {REAL: p.real}).items()}) for p in pairs]

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, PosePair, Image | None, list[Image]]]:
        """Pairs as the network takes them, the source's file where heads are cut out of it, and both files prepared.

        The last is for protocols that want other pictures than the network's, as they want them.
        """
        for row in rows:
            other = self.protocol is not OWN
            deep = self._depths is not None
            names = self.pairs.pairs[row][: 2 if other or deep else int(self._with_heads)]
            files = [read_image(self.root / self.pairs.split / name) for name in names]
            compared = [prepared(file, self.protocol, self.size) for file in files] if other else []
            yield row, self._deeper(row, files), files[0] if self._with_heads else None, compared

    def _deeper(self, row: int, files: Sequence[Image]) -> PosePair:
        """A pair, for models that know depth with that of its joints as they are found in both pictures."""
        pair = self.pairs[row]
        if self._depths is None:
            return pair
        points = [
            self._depths.of(name, file, joints, self.frame)
            for name, file, joints in zip(
                self.pairs.pairs[row], files, (pair.source_points, pair.target_points), strict=True
            )
        ]
        return pair._replace(source_points=points[0], target_points=points[1])

    def _with_near_head(self, made: dict[str, Tensor], pair: PosePair, source: Image) -> dict[str, Tensor]:
        """The pictures of one pair with heads from near, as `gfla infer --no-crop --no-align` draws them."""
        pose = Pose.of(pair.source_points, self.frame).scaled((source.shape[0], source.shape[1]))
        target = Pose.of(pair.target_points, self.frame).scaled(self.layout.frame)
        head = head_from_near(source, pose, target, whole_picture(*self.layout.frame, self.frame))
        if head is None:
            return made
        near = pair._replace(
            source_image=head.source_image,
            source_points=head.source_points.copy(),
            target_points=head.target_points.copy(),
        )
        batch = to_device(default_collate([near]), self._config, self.placement.device)
        drawn = {n: _made(model, batch) for n, model in self.models.items() if model.config.near_heads}
        whole = {n: head.put_into(to_uint8(made[n]), to_uint8(picture)) for n, picture in drawn.items()}
        return made | {name: to_tensor(image).to(self.placement.device) for name, image in whole.items()}

    def _as_file(self, picture: Tensor) -> Tensor:
        image = prepared(to_uint8(picture), self.protocol, self.size, fresh=True)
        return to_tensor(image).to(self.placement.device)


def _made(model: Session, batch: PoseBatch) -> Tensor:
    """The pictures of a model, which may know less of the structures than another one in the table."""
    count = model.config.structure_channels
    return generated(model, batch.source_image, batch.source_structure[:, :count], batch.target_structure[:, :count])
