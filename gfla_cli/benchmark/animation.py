"""How long a clip takes, and which stage takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gfla_cli.inference.session import Execution
from gfla_cli.pipelines.animation import AnimationSettings
from gfla_cli.pipelines.animation_jobs import AnimateOptions, plan_animation, run_animation

STAGES = ("decode", "landmarks", "structure", "network", "encode")


@dataclass(frozen=True, slots=True)
class ClipSpeed:
    """One clip, end to end."""

    task: str
    frames: int
    frames_per_second: float  # from the first look at the driver to the finished file
    milliseconds: dict[str, float]  # a frame, by stage; stages run beside each other

    @property
    def network_share(self) -> float:
        """Share of the network in the time of all stages."""
        return self.milliseconds["network"] / sum(self.milliseconds.values())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = {"task": self.task, "frames": self.frames, "frames_per_second": self.frames_per_second}
        return {**values, "milliseconds": self.milliseconds, "network_share": self.network_share}


def measure_animation(source: Path, driving: Path, model: str | None, execution: Execution) -> ClipSpeed:
    """Animates once into a file that is thrown away: the network's frame alone, as clips of figures are."""
    options = AnimateOptions(settings=AnimationSettings(), execution=execution, model=model, paste_back=False)
    with TemporaryDirectory() as folder:
        report = run_animation(plan_animation(source, driving, Path(folder) / "clip.mp4"), options)
    spent = {stage: round(1000 * report.seconds.get(stage, 0.0) / report.frames, 2) for stage in STAGES}
    return ClipSpeed(report.task, report.frames, report.frames_per_second, spent)
