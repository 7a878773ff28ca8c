"""What can go wrong for a user, each with one line of what and one line of what to do.

`app.py` is the only place that turns these into text; library code raises them and never prints.
"""


class GflaError(Exception):
    """One line that says what is wrong, and a hint that says what to do about it."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class UsageError(GflaError):
    """The command was asked for something it does not offer: an unknown name, an impossible value."""

    exit_code = 2


class ConfigError(UsageError):
    """A model description that no network can be built from."""


class MediaError(GflaError):
    """A picture or video that cannot be read or written."""


class DetectionError(GflaError):
    """A readable picture in which the person, face or object that the task needs was not found."""


class LandmarkError(GflaError):
    """A keypoint or landmark file that does not say what it should."""


class BundleError(GflaError):
    """A model bundle that is missing, damaged, or made for something else."""


class DataError(GflaError):
    """A training or evaluation data set that cannot be used as it lies."""


class MissingExtraError(GflaError):
    """A task that needs packages of an optional extra."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, hint=f'pip install "gfla[{extra}]"')
