"""Pose models on the test pairs of a data set, beside copying the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from gfla_cli.arrays import Image, Points
from gfla_cli.bundles.files import sha256_of
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.sample import PosePair
from gfla_cli.datasets.tables import SQUARE, Layout
from gfla_cli.errors import UsageError
from gfla_cli.evaluation.loop import COPY, REAL, Batch, TestSet
from gfla_cli.evaluation.metrics import Measures, PoseJudge, pose_change
from gfla_cli.evaluation.protocols import OWN, OWN_FILES, Protocol, Size, prepared
from gfla_cli.evaluation.scores import Score, change_class, spread
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.device import Placement
from gfla_cli.inference.session import Session
from gfla_cli.io.background import overlapped
from gfla_cli.io.image import read_image, to_tensor, to_uint8
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import Pose, nearest_person
from gfla_cli.pipelines.canvas import separates_people
from gfla_cli.pipelines.frame_layers import Layers, body_without_pattern
from gfla_cli.pipelines.refinement import SourceHead
from gfla_cli.training.tasks.pose import pose_batch


class _Read(NamedTuple):
    number: int
    pair: PosePair
    deep_pair: PosePair | None  # with the depth of its joints
    source: Image | None  # the file, where heads are cut out of it
    compared: list[Image]  # source and target as the protocol wants them


class PosePairs(TestSet):
    """Pose models and the test pairs they are measured on, generated one by one under a protocol."""

    size: Size

    def __init__(
        self,
        models: Mapping[str, Session],
        root: Path,
        layout: Layout,
        placement: Placement,
        protocol: Protocol = OWN,
        size: Size | None = None,
        *,
        limit: int | None = None,
        refine_head: bool = True,
        depth: bool = False,
    ) -> None:
        """`models` by name, all of one frame size. `limit`: that many pairs, spread over the set.

        `size`: what images are compared at, else the protocol's for this layout, else the network's frame.
        `refine_head`: models that were trained for it draw small heads again at a larger scale. `depth`: models that
        use the depth of joints get a second row, with the depth that MediaPipe finds in both images; in their first
        row joints have no depth. Raises DataError when the set cannot be read, UsageError when no model uses depth.
        """
        self.rows: dict[str, Session] = {}
        self._deep: set[str] = set()  # rows whose joints get their depth from the detector
        for name, model in models.items():
            self.rows[name] = model
            if depth and model.config.has_depth and model.config.sampler != "none":  # which looks at no joints' depth
                self._deep.add(f"{name}, detected depth")
                self.rows[f"{name}, detected depth"] = model
        if depth and not self._deep:
            raise UsageError("--depth: none of these models uses the depth of joints", hint="leave --depth out")
        configs = [model.config for model in models.values()]
        # Structures of a model with depth hold those of a model without, see _generated.
        self._config = next((config for config in configs if config.has_depth), configs[0])
        self._detector = PersonDetector() if depth else None
        self._people: dict[str, list[Pose]] = {}  # by image: those that the detector finds, who have depths
        self.frame = self._config.image_size
        self.root, self._layout, self.placement = root, layout, placement
        self.layout = layout.name
        self.size = size or protocol.sizes.get(layout.name) or self.frame
        self._refines = refine_head and any(config.refines_heads for config in configs)
        self.protocol = OWN_FILES if protocol is OWN and self.size != self.frame else protocol
        self.pairs = BenchmarkPairs(root, "test", layout, self.frame)
        self.numbers = spread(range(len(self.pairs)), limit)
        self.total, self.train_folder = len(self.numbers), root / "train"

    def prepare(self, measures: Measures) -> None:
        rendered = self._layout is SQUARE
        self.judge = PoseJudge(rendered=rendered) if "pck" in measures.metrics else None
        if rendered:
            measures.refine("pck", "a renderer's joints moved to where mediapipe sees them")

    def scores(self, *, with_real: bool) -> list[Score]:
        models = []
        for name, model in self.rows.items():
            about: dict[str, Any] = {key: model.about[key] for key in ("sha256", "trained") if key in model.about}
            depth = {"depth": "detected by mediapipe"} if name in self._deep else {}
            models.append(Score(name, about={"sampler": model.config.sampler, **about, **depth}))
        return [Score(COPY), *([Score(REAL)] if with_real else []), *models]

    def batches(self) -> Iterator[Batch]:
        return self.generated(self.numbers)

    def describe(self) -> tuple[dict[str, Any], str]:
        data = {
            "name": self.root.resolve().name,
            "layout": self.layout,
            "pairs": f"{self.total} of {len(self.pairs)}",
            "sha256": sha256_of(self.root / f"{self._layout.prefix}-pairs-test.csv"),
        }
        return data, f"{self.placement.device.type}, {self.placement.precision}"

    def generated(self, numbers: Sequence[int]) -> Iterator[Batch]:
        """Some pairs one by one: copy of the source, real image and every model's image. Files are read ahead."""
        scale = np.array([self.size[1] / self.frame[1], self.size[0] / self.frame[0], 1], np.float32)
        for read in overlapped(self._read(numbers)):
            copy, real = map(to_tensor, read.compared)
            made = self._generated(read)
            if self.protocol is not OWN:
                files = {n: prepared(to_uint8(x), self.protocol, self.size, fresh=True) for n, x in made.items()}
                made = {name: to_tensor(file) for name, file in files.items()}
            source, target = (
                np.where(points[:, 2:3] > 0, points[:, :3] * scale, points[:, :3])
                for points in (read.pair.source_points, read.pair.target_points)
            )
            yield Batch(
                numbers=[read.number],
                made={COPY: copy, REAL: real, **made},
                real=real,
                real_names=[self.pairs.pairs[read.number][1]],
                joints=[target],
                parts=[change_class(pose_change(source, target))],
            )

    def shown(self, name: str, number: int) -> tuple[str, dict[str, Image]]:
        (batch,) = self.generated([number])
        joints = batch.joints[0]
        assert joints is not None
        pose = draw_pose(np.full((*self.size, 3), 255, np.uint8), Pose(joints, self.size))
        source, result, real = (to_uint8(batch.made[row]) for row in (COPY, name, REAL))
        images = {"source": source, "target pose": pose, "result": result, "real": real}
        return " to ".join(self.pairs.pairs[number]), images

    def sheet(self, count: int) -> list[dict[str, Image]]:
        names = [COPY, *self.rows, REAL]
        batches = self.generated(spread(self.numbers, count))
        return [{name: to_uint8(batch.made[name]) for name in names} for batch in batches]

    def _read(self, numbers: Sequence[int]) -> Iterator[_Read]:
        as_files = self.protocol is not OWN
        for number in numbers:
            pair, names = self.pairs[number], self.pairs.pairs[number]
            needed = 2 if as_files or self._detector is not None else int(self._refines)
            files = [read_image(self.root / self.pairs.split / name) for name in names[:needed]]
            deep = None
            if self._detector is not None:
                joints = zip(names, files, (pair.source_points, pair.target_points), strict=True)
                source, target = (self._with_depths(*of_image, self._detector) for of_image in joints)
                deep = pair._replace(source_points=source, target_points=target)
            compared = [pair.source_image, pair.target_image]
            if as_files:
                compared = [prepared(file, self.protocol, self.size) for file in files]
            yield _Read(number, pair, deep, files[0] if self._refines else None, compared)

    def _generated(self, read: _Read) -> dict[str, Tensor]:
        """Every row's image of one pair, (1, 3, H, W), in the network's frame."""
        made: dict[str, Tensor] = {}
        for deep, pair in ((False, read.pair), (True, read.deep_pair)):
            if pair is not None:
                rows = {name: model for name, model in self.rows.items() if (name in self._deep) == deep}
                made |= self._of_pair(pair, rows)
                if read.source is not None:
                    made |= self._refined_heads(made, pair, read.source, rows)
        return {name: made[name] for name in self.rows}

    def _of_pair(self, pair: PosePair, rows: Mapping[str, Session], *, head: bool = False) -> dict[str, Tensor]:
        """Every row's image of one pair; `head`: of a head that is generated from near."""
        batch = pose_batch(default_collate([pair]), self._config, self.placement.device)
        made = {}
        for name, model in rows.items():
            # A model without depth takes the first half of the structure channels.
            count = model.config.structure_channels
            given = batch.source_image, batch.source_structure[:, :count], batch.target_structure[:, :count]
            inputs = [x.cpu().numpy() for x in given]
            if head or not separates_people(model.config):
                (image,) = model.image(*inputs)
            else:
                (image,), (planes,) = model.image_and_layers(*inputs)
                image, _ = body_without_pattern(image, Layers.unpacked(planes))
            made[name] = torch.from_numpy(image[None]).clamp(-1, 1)
        return made

    def _refined_heads(
        self, made: Mapping[str, Tensor], pair: PosePair, source: Image, rows: Mapping[str, Session]
    ) -> dict[str, Tensor]:
        """The images of one pair with refined heads, as `gfla infer --no-crop --no-align` draws them."""
        pose = Pose.of(pair.source_points, self.frame).scaled((source.shape[0], source.shape[1]))
        target = Pose.of(pair.target_points, self.frame).scaled(self._layout.frame)
        cut = SourceHead.of(source, pose, self.frame)
        head = cut.at(target, Crop.whole(self._layout.frame, self.frame)) if cut else None
        if head is None:
            return {}
        near = pair._replace(
            source_image=head.source_image,
            source_points=head.source_points.copy(),
            target_points=head.target_points.copy(),
        )
        refining = {name: model for name, model in rows.items() if model.config.refines_heads}
        drawn = self._of_pair(near, refining, head=True)
        return {n: to_tensor(head.paste(to_uint8(made[n]), to_uint8(image))) for n, image in drawn.items()}

    def _with_depths(self, name: str, image: Image, points: Points, detector: PersonDetector) -> NDArray[np.float32]:
        """(18, 4) the points (18, 3) in pixels of the frame with depths; NaN where no person is found there.

        Looks at every image once, and only in the thread that reads the pairs.
        """
        if name not in self._people:
            self._people[name] = [person.pose.scaled(self.frame) for person in detector.detect(image)]
        nearest = nearest_person(self._people[name], points)
        return Pose(points, self.frame, None if nearest is None else nearest.depths).deep_points
