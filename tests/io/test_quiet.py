"""Native libraries that write to stderr: silent for as long as any thread wants it, and no longer."""

from __future__ import annotations

import os

from gfla_cli.io.background import native_stderr_silenced


def test_stderr_is_silent_until_the_last_of_overlapping_blocks_ends(capfd):
    first, second = native_stderr_silenced(), native_stderr_silenced()
    first.__enter__()
    second.__enter__()
    os.write(2, b"both")
    first.__exit__(None, None, None)  # as when two threads silence it, and the one that began ends first
    os.write(2, b"one")
    second.__exit__(None, None, None)
    os.write(2, b"none")
    assert capfd.readouterr().err == "none"


def test_it_comes_back_after_an_error(capfd):
    try:
        with native_stderr_silenced():
            raise ValueError
    except ValueError:
        os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
