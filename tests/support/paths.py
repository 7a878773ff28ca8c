"""Where the tests find the project and its files."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"
SUPPORT = TESTS / "support"
SHARED = ROOT.parent / "shared"
ANNA, BEN = ROOT / "assets" / "anna.jpg", ROOT / "assets" / "ben.jpg"
