"""Videos of faces into clips to train on: frames around a face, with landmarks and irises in a text file for each.

`gfla train --dataset faces` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from gfla_cli.arrays import Points
from gfla_cli.errors import DataError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.background import Progress, Say, silent
from gfla_cli.io.files import atomic_folder, make_folder, names_of_results, require_path
from gfla_cli.io.image import write_image
from gfla_cli.io.video import Trim, read_frames
from gfla_cli.person.detect_face import faces_apart
from gfla_cli.person.face import cropped_face, face_crop, square_crop
from gfla_cli.pipelines.driver import open_driver
from gfla_cli.pipelines.extraction import VIDEOS, media_files
from gfla_cli.pipelines.jobs import JobReport, JobRunner, is_overlay

_ROOM = 1.3  # times the side of the usual crop: training takes larger and smaller crops out of it
_LARGEST_SIDE = 320  # pixels of the images; faces are never enlarged
_JUMP = 0.5  # face sizes from one frame to the next: more is a cut in the video, or another face
_LATER_CLIP = re.compile(r"(.+)-\d+")  # group 1: the video


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One video of which clips are made."""

    video: Path
    clip_name: str  # of the first clip; later ones get -2, -3, ...

    @property
    def name(self) -> str:
        return str(self.video)

    @property
    def inputs(self) -> list[Path]:
        return [self.video]

    @property
    def outputs(self) -> list[Path]:
        """Unknown before the video is read; existing clips are never touched."""
        return []


def plan_clips(source: Path) -> list[ClipJob]:
    """A job for a video, or for every video of a folder. Raises MediaError for a folder without videos."""
    require_path(source)
    videos = [source]
    if source.is_dir():
        videos = [video for video in media_files(source, VIDEOS, "videos") if not is_overlay(video)]
    names = names_of_results(videos)
    taken = set(names.values())
    for video, name in names.items():  # talk-2.mp4 must not take the name of the second clip of talk.mp4
        if (match := _LATER_CLIP.fullmatch(name)) and match[1] in taken:
            names[video] = video.name
    return [ClipJob(video, names[video]) for video in videos]


def run_clips(
    jobs: Sequence[ClipJob],
    root: Path,
    *,
    person: str = "largest",
    trim: Trim | None = None,
    fps: Fraction | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> JobReport:
    """Writes the clips of all videos. Raises the error of a single job; errors of several are reported."""
    report = JobReport()

    def write(job: ClipJob, progress: Progress) -> list[Path]:
        return write_clips(job.video, root, job.clip_name, person=person, trim=trim, fps=fps, progress=progress)

    JobRunner(jobs, report, overwrite=True, say=say, progress=progress).run(write)
    return report


def write_clips(
    video: Path,
    root: Path,
    name: str,
    *,
    person: str = "largest",
    trim: Trim | None = None,
    fps: Fraction | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Writes ROOT/NAME, ROOT/NAME-2, ...: one folder for every time range in which a face can be tracked.

    A clip appears complete or not at all. An existing one is not touched. Raises DataError when no face can be
    tracked long enough, MediaError when the video cannot be read.
    """
    driver = open_driver(video, "face", trim=trim, fps=fps, person=person)
    from gfla_cli.datasets.face_folders import SHORTEST, write_landmarks  # imports torch, for the training

    faces: list[Points | None] = []
    for frame in driver.frames():
        faces.append(frame.points)
        progress(len(faces), 2 * driver.expected)  # every frame is read twice
    clips = tracked_ranges(faces)
    if not clips:
        what = f"{video}: no face can be tracked for {SHORTEST} frames"
        raise DataError(what, hint="use a video in which one face looks at the camera")
    crops = [_clip_crop([faces[k] for k in clip], driver.size) for clip in clips]
    make_folder(root)
    folders = [root / f"{name}{f'-{k + 1}' if k else ''}" for k in range(len(clips))]
    with read_frames(video, trim, driver.fps) as frames:
        numbered = enumerate(frames)
        for folder, numbers, crop in zip(folders, clips, crops, strict=True):
            if folder.exists():
                continue
            with atomic_folder(folder) as clip:
                for number, image in numbered:
                    progress(len(faces) + number, 2 * len(faces))
                    face = faces[number]
                    if number in numbers and face is not None:
                        stem = f"{number - numbers.start:05d}"
                        write_image(clip / f"{stem}.jpg", crop.image(image))
                        write_landmarks(clip / f"{stem}.txt", cropped_face(face, crop))
                    if number == numbers.stop - 1:
                        break
    return folders


def tracked_ranges(faces: Sequence[Points | None]) -> list[range]:
    """The numbers of consecutive frames in which one face is visible and does not jump."""
    from gfla_cli.datasets.face_folders import SHORTEST

    breaks = [0]
    for number, (before, after) in enumerate(pairwise(faces), start=1):
        if before is None or after is None or faces_apart(before, after) > _JUMP:
            breaks.append(number)
    found = [range(start, stop) for start, stop in pairwise([*breaks, len(faces)])]
    return [frames for frames in found if len(frames) >= SHORTEST and faces[frames.start] is not None]


def _clip_crop(faces: Sequence[Points | None], size: tuple[int, int]) -> Crop:
    """A square inside the image around all faces of a clip, with room for the crops that training takes."""
    usual = face_crop(np.stack([face[:, :2] for face in faces if face is not None]), inside=size)
    side = min(*size, round(_ROOM * (usual.box[2] - usual.box[0])))
    pixels = min(side, _LARGEST_SIDE)
    return square_crop(usual.middle, side, (pixels, pixels), inside=size)
