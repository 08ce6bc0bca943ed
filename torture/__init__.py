"""Tortures the tool and counts what it did not withstand: `python -m torture`."""

import sys
from pathlib import Path

# The projects and servers of the tests are tortured with.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
