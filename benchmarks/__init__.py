"""Measures the tool beside its earlier releases, and batch migrations by figures of their own."""

import sys
from pathlib import Path

# The servers of the tests are measured with.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
