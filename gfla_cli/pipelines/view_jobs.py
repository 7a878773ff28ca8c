"""View synthesis on files: views, a turntable video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import (
    AZIMUTH_STEP,
    AZIMUTHS,
    Between,
    ViewAngles,
    nearest_view,
    view_angles,
)
from gfla_cli.errors import UsageError
from gfla_cli.inference.session import Execution
from gfla_cli.io.background import Say, said_when_slow, silent
from gfla_cli.io.files import refuse_output
from gfla_cli.io.image import (
    WRITABLE,
    check_image_file,
    write_image,
)
from gfla_cli.io.video import VideoWriter, container_of
from gfla_cli.pipelines.framing import Size
from gfla_cli.pipelines.jobs import JobReport, JobRunner
from gfla_cli.pipelines.view_synthesis import ViewSynthesizer

_TURN_SECONDS = 3  # of one turn of a turntable
_COLUMNS = 6  # of a contact sheet


@dataclass(frozen=True, slots=True)
class ViewJob:
    """The views of one image."""

    source: Path
    views: dict[float, Path]  # azimuth -> file to write
    turntable: Path | None
    grid: Path | None
    model: str = ""  # it may be a file

    @property
    def name(self) -> str:
        """See `jobs.Job`."""
        return str(self.source)

    @property
    def inputs(self) -> list[Path | str]:
        """See `jobs.Job`."""
        return [self.source, self.model]

    @property
    def outputs(self) -> list[Path]:
        """See `jobs.Job`."""
        return [*self.views.values(), *(path for path in (self.turntable, self.grid) if path is not None)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewOptions:
    """Everything that holds for all views of a call."""

    model: str
    source_azimuth: float | None
    source_elevation: float | None
    elevation: float | None
    between: Between
    size: Size | None
    execution: Execution
    symmetric: bool | None = None
    overwrite: bool = False


@dataclass(slots=True)
class ViewReport(JobReport):
    """What was made, and the view of the source image."""

    source_azimuth: float = 0.0
    source_elevation: float = 0.0
    estimated: bool = False
    size: int = 0  # side of a view, pixels
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        source = {"azimuth": self.source_azimuth, "elevation": self.source_elevation, "estimated": self.estimated}
        written = [str(path) for path in self.written]
        return {"written": written, "source_view": source, "size": self.size, "notes": self.notes}


def plan_views(
    source: Path,
    azimuths: Sequence[float],
    output: Path | None,
    *,
    turntable: Path | None = None,
    grid: Path | None = None,
    model: str = "",
    overwrite: bool = False,
) -> ViewJob:
    """Checks everything that can be checked before a model is loaded. Raises UsageError and MediaError.

    `output` is a file for one azimuth, else a folder. Without it views go to the current folder as SOURCE--60.png.
    """
    for azimuth in azimuths:
        view_angles(azimuth, 0)
    if output is not None and not azimuths:
        raise UsageError(
            f"{output}: there is no --azimuth whose view could go there", hint="add --azimuth 60, or leave --output out"
        )
    if not azimuths and turntable is None and grid is None:
        raise UsageError("which views?", hint="--azimuth 60, --turntable turn.mp4 or --grid sheet.png")
    job = ViewJob(source, _view_files(source, azimuths, output), turntable, grid, model)
    for path in (*job.views.values(), *([grid] if grid is not None else [])):
        if path.suffix.lower() not in WRITABLE:
            raise UsageError(f"{path}: unknown image format", hint=f"known: {' '.join(WRITABLE)}")
    if turntable is not None:
        container_of(turntable)
    places = [path.resolve() for path in job.outputs]
    if twice := next((path for path in places if places.count(path) > 1), None):
        raise UsageError(f"{twice} is named twice", hint="every output needs a name of its own")
    for path in job.outputs:
        refuse_output(path, overwrite=overwrite, inputs=job.inputs)
    check_image_file(source)
    return job


def _view_files(source: Path, azimuths: Sequence[float], output: Path | None) -> dict[float, Path]:
    if output is not None and len(azimuths) == 1 and not output.is_dir():
        return {azimuths[0]: output}
    if output is not None and (output.is_file() or output.suffix.lower() in WRITABLE):
        raise UsageError(f"{output} is one file, but there are {len(azimuths)} views", hint="give a folder, or --grid")
    return {azimuth: (output or Path()) / f"{source.stem}--{azimuth:g}.png" for azimuth in azimuths}


def run_views(job: ViewJob, options: ViewOptions, *, say: Say = silent) -> ViewReport:
    """Generates all views of a job, and then writes them."""
    report = ViewReport()
    runner = JobRunner([job], report, overwrite=options.overwrite, say=say)
    runner.run(lambda job, progress: _render(job, options, report, say))
    return report


def _render(job: ViewJob, options: ViewOptions, report: ViewReport, say: Say) -> list[Path]:
    with said_when_slow(say, f"loading {options.model}"):
        model = ViewSynthesizer(options.model, **options.execution)
    say(f"{model.session.name} on {model.session.place}")
    around: list[float] = []  # the azimuths of one turn; blended codes give twice as many
    if job.turntable is not None or job.grid is not None:
        step = AZIMUTH_STEP / (2 if options.between == "blend" else 1)
        around = [step * number for number in range(round(360 / step))]
    azimuths = [*job.views, *around]
    with said_when_slow(say, f"generating {len(azimuths)} view{'s' if len(azimuths) > 1 else ''}"):
        result = model.render(
            job.source,
            azimuths,
            options.source_azimuth,
            options.source_elevation,
            options.elevation,
            options.between,
            options.size,
            options.symmetric,
        )
    for note in result.notes:
        say(note)
    source, report.notes = result.source_view, result.notes
    report.source_azimuth, report.source_elevation = source.angles.azimuth, source.angles.elevation
    report.estimated, report.size = source.estimated, max(result.images[0].shape[:2])
    views, turn = result.images[: len(job.views)], result.images[len(job.views) :]
    for path, image in zip(job.views.values(), views, strict=True):
        write_image(path, image, overwrite=options.overwrite, result=True)
    if job.turntable is not None:
        write_turntable(job.turntable, turn, around, source.angles, overwrite=options.overwrite)
    if job.grid is not None:
        write_image(job.grid, tiled(turn[:: len(turn) // len(AZIMUTHS)]), overwrite=options.overwrite, result=True)
    return job.outputs


def write_turntable(
    path: Path, images: Sequence[Image], azimuths: Sequence[float], source: ViewAngles, *, overwrite: bool = False
) -> None:
    """Writes views of one turn, in the order of their azimuths, as a video.

    It begins with the view that is nearest to the `source` image, so that the first frame looks familiar.
    """
    start = azimuths.index(nearest_view(source).azimuth)
    with VideoWriter(path, len(images) / _TURN_SECONDS, overwrite=overwrite) as video:
        for image in [*images[start:], *images[:start]]:
            video.write(image)


def tiled(images: Iterable[Image]) -> Image:
    """(H, W, 3) images of one size in rows of six, the rest of the last row white."""
    tiles = list(images)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    return np.vstack([np.hstack(tiles[first : first + _COLUMNS]) for first in range(0, len(tiles), _COLUMNS)])
