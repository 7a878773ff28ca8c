"""The networks of models as they run in use: one picture, one frame of a clip, one view of an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from gfla_cli.benchmark.measure import interleaved_times
from gfla_cli.conditioning.view_code import CODE_LENGTH
from gfla_cli.config import ModelConfig, Task
from gfla_cli.inference.session import (
    Execution,
    Session,
    ViewSession,
    model_config,
    open_session,
    start_clip,
)

MADE: dict[Task, str] = {"pose": "picture", "face": "frame", "body": "frame", "view": "view"}


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """What one model takes for one result, without finding, framing, reading and writing."""

    name: str
    task: Task
    place: str  # device and number format
    first_milliseconds: float  # with all that depends on the source alone
    further_milliseconds: float  # of the same source

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure_models(models: list[str], execution: Execution, rounds: int = 7) -> list[ModelSpeed]:
    """One result of each model at its own frame size, from noise; all in turns, medians."""
    sessions = {model: open_session(model, model_config(model).task, **execution) for model in models}
    rng = np.random.default_rng(0)
    ways = {model: _ways(session, rng) for model, session in sessions.items()}
    first = interleaved_times({model: whole for model, (whole, _) in ways.items()}, rounds)
    further = interleaved_times({model: again for model, (_, again) in ways.items()}, rounds)
    return [
        ModelSpeed(session.name, session.config.task, session.place, first[model] * 1e3, further[model] * 1e3)
        for model, session in sessions.items()
    ]


def _ways(session: Session, rng: np.random.Generator) -> tuple[Callable[[], object], Callable[[], object]]:
    """What makes the first result of a source, and what makes every further one."""
    config = session.config
    picture = _noise(rng, config, 3)
    if config.task == "view":
        views = cast(ViewSession, session)
        codes = [rng.random((1, CODE_LENGTH), np.float32) for _ in range(2)]
        encoded = views.encode(picture)
        return lambda: views.view(views.encode(picture), *codes), lambda: views.view(encoded, *codes)
    known, wanted = (_noise(rng, config, config.structure_channels) for _ in range(2))
    clip = start_clip(session, picture, known)
    return lambda: start_clip(session, picture, known).next(wanted), lambda: clip.next(wanted)


def _noise(rng: np.random.Generator, config: ModelConfig, channels: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.random((1, channels, *config.image_size), np.float32)
