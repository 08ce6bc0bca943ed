"""What a reader of the code can rely on, wherever it is opened."""

import ast
from pathlib import Path

import pytest

import mpt_tool

ROOT = Path(mpt_tool.__file__).parent
# Commands declare their options, of which there are as many as there are.
MODULES = [path for path in ROOT.rglob("*.py") if path.parent != ROOT / "cli"]
LONGEST = 50


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
