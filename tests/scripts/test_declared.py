"""What a script's text tells of its migration: targets, what it requires, whether it verifies."""

from pathlib import Path

import pytest

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.scripts.syntax import Syntax, read_syntax


def read(body: str, folder: Path, *, base: str = "BatchDataMigration", above: str = "") -> Syntax:
    path = folder / "1_any.py"
    path.write_text(f"{above}\nclass Migration({base}):\n    {body}\n")
    return read_syntax(path)


@pytest.mark.parametrize(
    ("body", "targets"),
    [
        ("targets = 'PRODUCTS'", "PRODUCTS"),
        ("targets: str = 'PRO' 'DUCTS'", "PRODUCTS"),
        ("targets = ('A', 'B')", ("A", "B")),
        ("targets = ['A']", ("A",)),
        ("targets = ()", ()),
        ("targets: tuple[str, ...]", ()),
        ("pass", ()),
    ],
)
def test_targets_are_read(body: str, targets: object, tmp_path: Path) -> None:
    syntax = read(body, tmp_path)

    assert (syntax.targets, syntax.problem) == (targets, None)


@pytest.mark.parametrize(
    "body",
    [
        "targets = os.environ['A'].split(',')",
        "targets = f'{A}'",
        "targets = {[]: 1}",
        "targets = {'A'}",
        "targets = None",
        "@property\n    def targets(self): ...",
        "requires = 'first'",
        "requires = ['a', *OTHERS]",
        "requires = (1,)",
    ],
)
def test_what_cannot_be_read_is_a_problem_with_its_line(body: str, tmp_path: Path) -> None:
    syntax = read(body, tmp_path)

    assert syntax.problem
    assert syntax.problem.startswith(f"{'targets' if 'targets' in body else 'requires'} cannot be")
    assert syntax.line in (3, 4)


def test_what_a_base_in_the_script_says_counts_unless_the_class_says_else(tmp_path: Path) -> None:
    above = (
        "class Base(BatchDataMigration):\n"
        "    targets = 'ONE'\n    requires = ('a',)\n    def verify(self): ..."
    )

    syntax = read("targets = 'TWO'", tmp_path, base="Base", above=above)

    assert (syntax.targets, syntax.requires, syntax.verifies) == ("TWO", ("a",), True)


@pytest.mark.parametrize(("base", "above"), [("Shared", "from shared import Shared")])
def test_it_is_read_where_the_type_cannot_be_told(base: str, above: str, tmp_path: Path) -> None:
    syntax = read("targets = 'ONE'", tmp_path, base=base, above=above)

    assert (syntax.type, syntax.targets) == (None, "ONE")


@pytest.mark.parametrize(
    ("base", "type_"),
    [
        ("BatchDataMigration", MigrationTypeEnum.DATA),
        ("BatchSchemaMigration", MigrationTypeEnum.SCHEMA),
    ],
)
def test_the_type_of_a_batch_is_told(base: str, type_: MigrationTypeEnum, tmp_path: Path) -> None:
    syntax = read("pass", tmp_path, base=base)

    assert (syntax.type, syntax.is_batch) == (type_, True)
