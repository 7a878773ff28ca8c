"""Videos: looking into them, reading and writing them frame by frame. Frames are `uint8 (H, W, 3)` RGB.

Copying one, say:

    with read_frames("driver.mp4") as frames, VideoWriter("out.mp4", frames.fps, sound=sound_of(frames.info)) as video:
        for frame in overlapped(frames):
            video.write(frame)
"""

from __future__ import annotations

from gfla_cli.io.background import overlapped
from gfla_cli.io.video_probe import VideoInfo, exact_rate, probe
from gfla_cli.io.video_read import Frames, Trim, frame_count, read_frames
from gfla_cli.io.video_write import WRITABLE, Sound, VideoWriter, container_of, sound_of

__all__ = [
    "WRITABLE", "Frames", "Sound", "Trim", "VideoInfo", "VideoWriter", "container_of", "exact_rate", "frame_count",
    "overlapped", "probe", "read_frames", "sound_of",
]  # fmt: skip
