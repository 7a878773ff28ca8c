"""View synthesis on files: single views, a turntable, a contact sheet. All is rendered before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import AZIMUTHS, Between, nearest_view, view_angles
from gfla_cli.errors import UsageError
from gfla_cli.io.files import make_folder, refuse_output, require_file
from gfla_cli.io.image import WRITABLE, write_image
from gfla_cli.io.video import VideoWriter, container_of

if TYPE_CHECKING:
    from gfla_cli.inference.session import Execution
    from gfla_cli.pipelines.view_synthesis import ViewResult


_TURN_SECONDS = 3  # of one turn of a turntable
_COLUMNS = 6  # of a contact sheet


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """What to make of one picture."""

    source: Path
    pictures: dict[float, Path]  # azimuth -> where it goes
    turntable: Path | None
    grid: Path | None
    overwrite: bool

    @property
    def outputs(self) -> list[Path]:
        """All files to write."""
        return [*self.pictures.values(), *(path for path in (self.turntable, self.grid) if path is not None)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewOptions:
    """How it is made."""

    model: str
    source_azimuth: float | None
    source_elevation: float | None
    elevation: float | None
    between: Between
    execution: Execution


@dataclass(slots=True)
class ViewReport:
    """What was made, and of what."""

    written: list[Path] = field(default_factory=list)
    source_azimuth: float = 0.0
    source_elevation: float = 0.0
    estimated: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        source = {"azimuth": self.source_azimuth, "elevation": self.source_elevation, "estimated": self.estimated}
        return {"written": [str(path) for path in self.written], "source_view": source, "notes": self.notes}


def plan_views(
    source: Path,
    azimuths: Sequence[float],
    output: Path | None,
    *,
    turntable: Path | None = None,
    grid: Path | None = None,
    overwrite: bool = False,
) -> ViewPlan:
    """Checks everything that can be checked before a model is loaded; raises UsageError and MediaError.

    `output` is a file for one azimuth, else a folder; without it views go to the current folder as SOURCE--60.png.
    """
    for azimuth in azimuths:
        view_angles(azimuth, 0)
    if output is not None and not azimuths:
        raise UsageError(
            f"{output}: there is no --azimuth whose view could go there", hint="add --azimuth 60, or leave --output out"
        )
    if not azimuths and turntable is None and grid is None:
        raise UsageError("which views?", hint="--azimuth 60, --turntable turn.mp4 or --grid sheet.png")
    plan = ViewPlan(source, _name_pictures(source, azimuths, output), turntable, grid, overwrite)
    for picture in (*plan.pictures.values(), *([grid] if grid is not None else [])):
        if picture.suffix.lower() not in WRITABLE:
            raise UsageError(f"{picture}: unknown picture format", hint=f"known: {' '.join(WRITABLE)}")
    if turntable is not None:
        container_of(turntable)
    _check_outputs(plan, folder=None if output is None or output in plan.pictures.values() else output)
    require_file(source, "image")
    return plan


def _name_pictures(source: Path, azimuths: Sequence[float], output: Path | None) -> dict[float, Path]:
    if output is not None and len(azimuths) == 1 and not output.is_dir():
        return {azimuths[0]: output}
    if output is not None and (output.is_file() or output.suffix.lower() in WRITABLE):
        raise UsageError(f"{output} is one file, but there are {len(azimuths)} views", hint="give a folder, or --grid")
    return {azimuth: (output or Path()) / f"{source.stem}--{azimuth:g}.png" for azimuth in azimuths}


def _check_outputs(plan: ViewPlan, folder: Path | None) -> None:
    """Raises UsageError when an output exists, is named twice or cannot be written; makes the folder of many views."""
    places = [path.resolve() for path in plan.outputs]
    if twice := next((path for path in places if places.count(path) > 1), None):
        raise UsageError(f"{twice} is named twice", hint="every output needs a name of its own")
    if folder is not None:
        make_folder(folder)
    for path in plan.outputs:
        refuse_output(path, overwrite=plan.overwrite)


def render_views(plan: ViewPlan, options: ViewOptions, *, say: Callable[[str], None]) -> ViewReport:
    """Renders what the plan says, and then writes it."""
    from gfla_cli.pipelines.view_synthesis import ViewSynthesizer

    model = ViewSynthesizer(options.model, **options.execution)
    say(f"{model.session.name} on {model.session.place}")
    around = _around(options.between) if plan.turntable is not None or plan.grid is not None else []
    result = model.render(
        plan.source,
        [*plan.pictures, *around],
        options.source_azimuth,
        options.source_elevation,
        options.elevation,
        options.between,
    )
    for note in result.notes:
        say(note)
    angles = result.source_view.angles
    report = ViewReport([], angles.azimuth, angles.elevation, result.source_view.estimated, result.notes)
    _write(plan, result, around, report)
    return report


def _around(between: Between) -> list[float]:
    """The azimuths of one turn; codes that may be blended give twice as many."""
    if between == "blend":
        return [azimuth / 2 for azimuth in range(0, 720, AZIMUTHS[1])]
    return [float(azimuth) for azimuth in AZIMUTHS]


def _write(plan: ViewPlan, result: ViewResult, around: Sequence[float], report: ViewReport) -> None:
    single = len(plan.pictures)
    for path, image in zip(plan.pictures.values(), result.images[:single], strict=True):
        write_image(path, image, overwrite=plan.overwrite)
        report.written.append(path)
    turn = result.images[single:]
    if plan.turntable is not None:
        # It begins where the picture was taken from, so that the first frame looks familiar.
        start = around.index(nearest_view(result.source_view.angles).azimuth)
        write_turntable(plan.turntable, [*turn[start:], *turn[:start]], overwrite=plan.overwrite)
        report.written.append(plan.turntable)
    if plan.grid is not None:
        every = len(turn) // len(AZIMUTHS)
        write_image(plan.grid, tiled(turn[::every]), overwrite=plan.overwrite)
        report.written.append(plan.grid)


def write_turntable(path: Path, frames: Sequence[Image], *, overwrite: bool = False) -> None:
    """One turn as a video or GIF of (H, W, 3) frames."""
    with VideoWriter(path, len(frames) / _TURN_SECONDS, overwrite=overwrite) as video:
        for frame in frames:
            video.write(frame)


def tiled(images: Iterable[Image]) -> Image:
    """(H, W, 3) pictures of one size in rows of six, white where there are none."""
    tiles = list(images)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[first : first + _COLUMNS]) for first in range(0, len(tiles), _COLUMNS)])
