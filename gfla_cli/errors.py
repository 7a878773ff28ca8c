"""Errors that users see: one line that says what is wrong, and a hint that says what to do.

Library code raises them and never prints. Only `app.py` turns them into text.
"""


class GflaError(Exception):
    """Base of all errors: a message of one line, and a hint."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class UsageError(GflaError):
    """An unknown name or an impossible value was given."""

    exit_code = 2


class ConfigError(UsageError):
    """A model config that no network can be built from."""


class MediaError(GflaError):
    """An image or video that cannot be read or written."""


class DetectionError(GflaError):
    """An image without the person, face or object that the task needs."""


class LandmarkError(GflaError):
    """A keypoint or landmark file with wrong content."""


class BundleError(GflaError):
    """A model bundle that is missing, damaged, or made for another task."""


class DataError(GflaError):
    """A training or evaluation data set that cannot be used as it is."""


class MissingExtraError(GflaError):
    """Packages of an optional extra are missing."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, hint=f'pip install "gfla[{extra}]"')


# Part of an import error's message -> what installs the missing library.
_LIBRARIES = {
    "libGL.so": "apt-get install libgl1, or: pip install --force-reinstall opencv-contrib-python-headless",
    "libgthread": "apt-get install libglib2.0-0",
    "libglib": "apt-get install libglib2.0-0",
    "No module named 'cv2'": "pip install opencv-contrib-python-headless",
}


def import_failed(error: ImportError) -> GflaError:
    """The error for a package, or a system library that it needs, that is missing."""
    reason = (str(error).splitlines() or ["no reason given"])[0]
    hint = next((hint for sign, hint in _LIBRARIES.items() if sign in reason), "gfla doctor shows what is installed")
    return GflaError(f"a library cannot be loaded: {reason}", hint=hint)
