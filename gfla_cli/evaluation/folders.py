"""Folders of generated images against a folder of real ones, whatever has generated them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gfla_cli.arrays import Image, Points
from gfla_cli.evaluation.fid import FidReference, find_reference
from gfla_cli.evaluation.folder_pairs import FilePair, pair_folders
from gfla_cli.evaluation.loop import Batch, TestSet
from gfla_cli.evaluation.measures import Measures
from gfla_cli.evaluation.metrics import PoseJudge, pose_change
from gfla_cli.evaluation.protocols import OWN_FILES, Protocol, Size, prepared
from gfla_cli.evaluation.scores import MASKED, Score, change_class, spread
from gfla_cli.io.background import overlapped
from gfla_cli.io.files import distinct_names
from gfla_cli.io.image import find_images, read_image, to_tensor, to_uint8
from gfla_cli.person.drawing import draw_pose
from gfla_cli.person.pose import Pose

_BATCH = 8  # images that are measured at once


@dataclass(kw_only=True)
class ComparedFolders(TestSet):
    """What is compared, and how; each folder of generated images gets a score."""

    real: Path
    generated: Sequence[Path]
    table: Path | None = None  # of the pairs; else by name
    protocol: Protocol = OWN_FILES
    layout: str = "square"  # whose sizes of the protocol hold
    size: Size | None = None  # else the protocol's, else that of the first generated image
    poses: Mapping[str, Pose] = field(default_factory=dict)  # of real images, by name without suffix
    limit: int | None = None
    total: int = field(init=False, default=0)
    # Name of a folder -> its images, with their real ones or without.
    _pairs: dict[str, list[FilePair]] = field(init=False, default_factory=dict)
    _alone: dict[str, list[Path]] = field(init=False, default_factory=dict)
    _device: torch.device = field(init=False, default=torch.device("cpu"))
    _judge: PoseJudge | None = field(init=False, default=None)

    def prepare(self, measures: Measures) -> None:
        """FID alone needs no pairs."""
        resolved = dict(enumerate(folder.resolve() for folder in self.generated))
        short = {k: folder.name for k, folder in resolved.items()}
        names = distinct_names(short, {k: f"{folder.parent.name}/{folder.name}" for k, folder in resolved.items()})
        named = dict(zip(names.values(), self.generated, strict=True))
        if measures.paired:
            pairs = {name: pair_folders(self.real, folder, self.table) for name, folder in named.items()}
            self._pairs = {name: spread(found, self.limit) for name, found in pairs.items()}
        else:
            self._alone = {name: spread(find_images(folder), self.limit) for name, folder in named.items()}
        self.total = sum(self._counts())
        if measures.masked and measures.mask_files is None and not self.poses:
            for metric in MASKED:
                measures.without(metric, "no masks; --keypoints names a table of joints, --masks a folder of masks")
        if not self.poses:
            measures.refine("pck", "of the pose that it finds in the real picture")
        self.size = self.size or self.protocol.sizes.get(self.layout)
        if self.size is None:
            files = self._alone or {name: [pair.generated for pair in found] for name, found in self._pairs.items()}
            first = read_image(next(iter(files.values()))[0])
            self.size = (first.shape[0], first.shape[1])
        self._device = measures.device
        self._judge = PoseJudge(rendered=False) if measures.pck else None

    def scores(self, *, with_real: bool) -> list[Score]:
        return [Score(name) for name in (*self._pairs, *self._alone)]

    def batches(self) -> Iterator[Batch]:
        """Files are read ahead."""
        for name, files in self._alone.items():
            for number, image in enumerate(overlapped(self._read(file) for file in files)):
                yield Batch(numbers=[number], made={name: to_tensor(image).to(self._device)})
        for name, pairs in self._pairs.items():
            read = overlapped((self._both(pair) for pair in pairs), size=2 * _BATCH)
            for first in range(0, len(pairs), _BATCH):
                group = pairs[first : first + _BATCH]
                images = list(islice(read, len(group)))
                made, real = (torch.cat([to_tensor(both[k]) for both in images]) for k in (0, 1))
                joints = [self._joints(pair.real.stem) for pair in group]
                yield Batch(
                    numbers=range(first, first + len(group)),
                    made={name: made.to(self._device)},
                    real=real.to(self._device),
                    real_names=[pair.real.name for pair in group],
                    joints=joints,
                    parts=[change_class(self._change(*known)) for known in zip(group, joints, strict=True)],
                )

    def more(self, made: Tensor, batch: Batch, k: int) -> dict[str, float]:
        """NaN where neither a table nor the detector knows the pose of the real image."""
        if self._judge is None or batch.real is None:
            return {}
        joints = batch.joints[k]
        wanted = joints if joints is not None else self._judge.pose(to_uint8(batch.real[k]))
        if wanted is None:
            return {"pck": math.nan, "mirrored": math.nan}
        return self._judge.figures(to_uint8(made), wanted)

    def fid_reference(self, given: Path | None) -> FidReference | None:
        return find_reference(self.protocol, given, None) or FidReference(self.real, "all real pictures")

    def describe(self) -> tuple[dict[str, Any], str]:
        data = {
            "name": "/".join(self.real.resolve().parts[-2:]),
            "layout": self.layout,
            "pairs": ", ".join(str(count) for count in dict.fromkeys(self._counts())),
            "paired_by": "nothing" if not self._pairs else self.table.name if self.table else "name",
        }
        return data, ""

    def shown(self, name: str, number: int) -> dict[str, Image]:
        pair = self._pairs[name][number]
        result, real = self._both(pair)
        images: dict[str, Image] = {}
        source = next(iter(sorted(self.real.glob(f"{pair.source}.*"))), None) if pair.source else None
        if source is not None:
            images["source"] = self._read(source)
        joints = self._joints(pair.real.stem)
        if joints is not None:
            images["target pose"] = draw_pose(np.full_like(result, 255), Pose(joints, result.shape[:2]))
        return images | {"result": result, "real": real}

    def title(self, name: str, number: int) -> str:
        return self._pairs[name][number].generated.name

    def sheet(self, count: int) -> list[dict[str, Image]]:
        """Of the first folder."""
        pairs = next(iter(self._pairs.values()), [])
        return [dict(zip(("result", "real"), self._both(pair), strict=True)) for pair in spread(pairs, count)]

    def _counts(self) -> list[int]:
        """How many images of each folder are measured."""
        return [*(len(pairs) for pairs in self._pairs.values()), *(len(files) for files in self._alone.values())]

    def _read(self, file: Path) -> Image:
        assert self.size is not None
        return prepared(read_image(file), self.protocol, self.size)

    def _both(self, pair: FilePair) -> tuple[Image, Image]:
        return self._read(pair.generated), self._read(pair.real)

    def _joints(self, stem: str) -> Points | None:
        """(18, 3) joints of a real image in the pixels of the comparison; None where they are not known."""
        assert self.size is not None
        pose = self.poses.get(stem)
        return None if pose is None else pose.scaled(self.size).points

    def _change(self, pair: FilePair, target: Points | None) -> float:
        """How far the pose changed; NaN where one of the two is not known."""
        source = self._joints(pair.source) if pair.source else None
        return math.nan if source is None or target is None else pose_change(source, target)
