"""Runs the command line as `python -m mpt_tool`."""

import sys
from pathlib import Path

# `python -m` puts the working folder first, where a folder of the project could shadow an installed
# package; the loader adds the project's root again, at the end.
if sys.path and Path(sys.path[0]) == Path.cwd():
    del sys.path[0]

from mpt_tool.cli import main

if __name__ == "__main__":
    main()
