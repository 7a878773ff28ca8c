"""gfla as a user starts it: a process of its own for every call."""

from __future__ import annotations

import os
import subprocess
import sys

from gfla_cli.errors import GflaError


def run_gfla(*arguments: str) -> None:
    """Runs a command to its end; raises GflaError with what it said when it fails."""
    command = [sys.executable, "-m", "gfla_cli", *arguments]
    # Installed modules are compiled; those of a checkout would be anew in every run under this setting.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise GflaError(f"a run that was to be measured failed: {done.stderr.strip()[:200]}")
