"""Films of faces made into clips to train on: frames around the face, and 68 landmarks in a text file for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from gfla_cli.arrays import Points
from gfla_cli.datasets.face_folders import SHORTEST, write_landmarks
from gfla_cli.errors import DataError, GflaError, MediaError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.files import atomic_folder, make_folder, names_of_results
from gfla_cli.io.image import write_image
from gfla_cli.io.video import Trim, read_frames
from gfla_cli.person.detect_face import faces_apart
from gfla_cli.person.face import cropped_face, face_crop, square_crop
from gfla_cli.pipelines.driver import open_driver
from gfla_cli.pipelines.extraction import FILMS

_ROOM = 1.3  # times the side of the usual frame: training cuts larger and smaller frames out of it
_LARGEST_SIDE = 320  # pixels of the pictures; faces are never made larger
_CUT = 0.5  # face sizes from one frame to the next: another shot, or another face
_LATER_CLIP = re.compile(r"(.+)-\d+")  # of the film that the group names


def write_all_clips(
    source: Path,
    root: Path,
    *,
    person: str = "largest",
    trim: Trim | None = None,
    fps: Fraction | None = None,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> tuple[list[Path], dict[str, str]]:
    """`write_clips` of a film, or of all films of a folder, of which some may fail: the clips, and film -> why not."""
    films = find_films(source) if source.is_dir() else [source]
    names = _names(films)
    written: list[Path] = []
    failed: dict[str, str] = {}
    for film in films:
        try:
            name = names[film]
            written += write_clips(film, root, name=name, person=person, trim=trim, fps=fps, progress=progress)
        except GflaError as error:
            if len(films) == 1:
                raise
            failed[str(film)] = str(error)
    return written, failed


def _names(films: Sequence[Path]) -> dict[Path, str]:
    """What to call the clips of each film, so that no clip has the name of another film's."""
    names = names_of_results(films)
    taken = set(names.values())
    later = [film for film, name in names.items() if (match := _LATER_CLIP.fullmatch(name)) and match[1] in taken]
    return names | {film: film.name for film in later}


def find_films(folder: Path) -> list[Path]:
    """The films of a folder, sorted by name. Raises MediaError if there are none."""
    found = [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in FILMS and not path.name.startswith(".")
    ]
    if not found:
        raise MediaError(f"{folder}: no films in this folder", hint=f"looked for {' '.join(FILMS)}")
    return found


def write_clips(
    film: Path,
    root: Path,
    *,
    name: str = "",
    person: str = "largest",
    trim: Trim | None = None,
    fps: Fraction | None = None,
    progress: Callable[[int, int], None] = lambda done, expected: None,
) -> list[Path]:
    """Writes ROOT/NAME, ROOT/NAME-2, ...: one folder for every stretch in which a face can be followed.

    What `gfla train --dataset faces` reads; without `name` they are called after the film. A clip appears complete or
    not at all, an existing one is not touched.
    Raises DataError when the film has no stretch that is long enough, MediaError when it cannot be read.
    """
    driver = open_driver(film, "face", trim=trim, fps=fps, person=person)
    faces: list[Points | None] = []
    for frame in driver.frames():
        faces.append(frame.points)
        progress(len(faces), 2 * driver.expected)  # every frame is read twice
    clips = stretches(faces)
    if not clips:
        what = f"{film}: no face can be followed for {SHORTEST} frames"
        raise DataError(what, hint="use a film in which one face looks at the camera")
    crops = [_crop([faces[k] for k in clip], driver.size) for clip in clips]
    make_folder(root)
    folders = [root / f"{name or film.stem}{f'-{k + 1}' if k else ''}" for k in range(len(clips))]
    _write(film, (trim, driver.fps), faces, list(zip(folders, clips, crops, strict=True)), progress)
    return folders


def stretches(faces: Sequence[Points | None]) -> list[range]:
    """The numbers of consecutive frames in which one face is seen and does not jump."""
    breaks = [0]
    for number, (before, after) in enumerate(pairwise(faces), start=1):
        if before is None or after is None or faces_apart(before, after) > _CUT:
            breaks.append(number)
    found = [range(start, stop) for start, stop in pairwise([*breaks, len(faces)])]
    return [frames for frames in found if len(frames) >= SHORTEST and faces[frames.start] is not None]


def _crop(faces: Sequence[Points | None], size: tuple[int, int]) -> Crop:
    """A square around all faces of a clip, with room for the frames that training takes, inside the picture."""
    left, top, right, bottom = face_crop(np.stack([face[:, :2] for face in faces if face is not None]), inside=size).box
    side = min(*size, round(_ROOM * (right - left)))
    pixels = min(side, _LARGEST_SIDE)
    return square_crop(((left + right - 1) / 2, (top + bottom - 1) / 2), side, (pixels, pixels), inside=size)


def _write(
    film: Path,
    chosen: tuple[Trim | None, Fraction],
    faces: Sequence[Points | None],
    clips: Sequence[tuple[Path, range, Crop]],
    progress: Callable[[int, int], None],
) -> None:
    """Reads the film again, and writes what belongs to a clip."""
    with read_frames(film, *chosen) as frames:
        numbered = enumerate(frames)
        for folder, numbers, crop in clips:
            if folder.exists():
                continue
            with atomic_folder(folder) as clip:
                for number, image in numbered:
                    progress(len(faces) + number, 2 * len(faces))
                    face = faces[number]
                    if number in numbers and face is not None:
                        name = f"{number - numbers.start:05d}"
                        write_image(clip / f"{name}.jpg", crop.image(image))
                        write_landmarks(clip / f"{name}.txt", cropped_face(face, crop))
                    if number == numbers.stop - 1:
                        break
