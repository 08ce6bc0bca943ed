"""Which files are scripts, and what a script meets when it is loaded and run."""

import os
import sys

import pytest
from support.project import COMMAND, Project


def test_other_files_of_the_folder_are_left_alone(project: Project) -> None:
    project.script("only")
    for name in ("__init__.py", "helpers.py", "v1_old.py", "20260101.py", "_1_a.py", "1-a.py"):
        project.file(f"migrations/{name}", "raise AssertionError('imported')")
    for name in ("1_a.pyc", "1_a.py.bak", "1_a.PY", "1_a.txt", "README.md", "1_folder.py/2_b.py"):
        project.file(f"migrations/{name}", "no Python")

    checked, ran = project.run("migrate", "--check"), project.run("migrate", "--data")

    assert (checked.exit_code, ran.exit_code) == (0, 0)
    assert project.state().keys() == {"only"}


BASE = "from mpt_tool.migration import DataBaseMigration\n"
RAISES = "    def __init__(self): raise OSError('no disk')\n"
RUNS = "    def run(self): ...\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:", "SyntaxError"),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("x = 1", "has no class Migration"),
        (f"class Migration:\n{RUNS}", "has no class Migration"),
        (f"{BASE}class Migration(DataBaseMigration): ...", "Migration has no run()"),
        (f"{BASE}class Migration(DataBaseMigration):\n{RAISES}{RUNS}", "OSError: no disk"),
    ],
)
def test_a_script_that_cannot_be_loaded_stops_the_command_before_anything_ran(
    project: Project, text: str, reason: str
) -> None:
    project.script("fine", order_id=1, body="print('ran')")
    project.file("migrations/2_broken.py", text)
    project.script("fine_too", order_id=3, body="print('ran')")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert result.stdout == "Running data migrations...\n"
    assert "Error running data command: migrations/2_broken.py " in result.stderr
    assert reason in result.stderr
    assert "mpt_tool/" not in result.stderr
    assert result.stderr.endswith("\nAborted.\n")
    assert not project.state_file.exists()


def test_all_scripts_are_loaded_before_the_first_runs(project: Project) -> None:
    for migration_id in ("first", "second"):
        project.script(
            migration_id,
            above=f"print('loaded', {migration_id!r})",
            body=f"print('ran', {migration_id!r})",
        )

    result = project.run("migrate", "--data")

    lines = [line for line in result.stdout.splitlines() if line.startswith(("loaded", "ran"))]
    assert lines == ["loaded first", "loaded second", "ran first", "ran second"]


def test_a_script_is_a_module_of_its_own(project: Project) -> None:
    above = """
        from __future__ import annotations
        import pickle
        import sys
        from dataclasses import KW_ONLY, dataclass

        @dataclass
        class Item:
            _: KW_ONLY
            owner: str
        """
    body = """
        assert sys.modules[__name__].Item is Item
        assert pickle.loads(pickle.dumps(Item(owner=__name__))).owner == __name__
        print(__name__, __file__)
        """
    paths = [str(project.script(each, above=above, body=body)) for each in ("one", "two")]

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    printed = [line.split() for line in result.stdout.splitlines() if line.endswith(".py")]
    assert [file for _, file in printed] == paths
    assert len({name for name, _ in printed}) == len(paths)


@pytest.mark.parametrize(
    "command",
    [[COMMAND], [sys.executable, "-m", "mpt_tool"]],
    ids=["console script", "python -m"],
)
def test_the_project_is_importable_and_shadows_nothing_installed(
    project: Project, command: list[str]
) -> None:
    project.file("shop/orders.py", "NAME = 'the shop'")
    for installed in ("rich", "typer", "pydantic", "json", "email"):
        project.file(f"{installed}.py", "raise AssertionError('shadowed')")
    above = "import email, rich\nfrom shop.orders import NAME"
    project.script("uses", above=above, body="print(NAME)")

    result = project.execute([*command, "migrate", "--data"])

    assert result.exit_code == 0, result.stderr
    assert "the shop" in result.stdout.splitlines()


def test_no_event_loop_is_running_and_async_scripts_are_awaited(project: Project) -> None:
    project.script("runs_its_own", above="import asyncio", body="asyncio.run(asyncio.sleep(0))")
    project.file(
        f"migrations/{10**13}_is_awaited.py",
        """
        import asyncio
        from mpt_tool.migration import DataBaseMigration

        class Migration(DataBaseMigration):
            async def run(self):
                await asyncio.sleep(0)
                print("awaited")
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert "awaited" in result.stdout.splitlines()
    assert all(each["applied_at"] for each in project.state().values())


def test_a_type_that_the_text_does_not_tell_is_told_by_loading(project: Project) -> None:
    project.file(
        "shared.py",
        """
        from mpt_tool.migration import DataBaseMigration, SchemaBaseMigration

        class Data(DataBaseMigration):
            def run(self): print("ran data")

        class Schema(SchemaBaseMigration):
            def run(self): print("ran schema")
        """,
    )
    project.file("migrations/1_data.py", "from shared import Data as Migration")
    project.file("migrations/2_schema.py", "from shared import Schema as Migration")

    result = project.run("migrate", "--data")

    assert "ran data" in result.stdout
    assert "ran schema" not in result.stdout
    assert {key: each["type"] for key, each in project.state().items()} == {"data": "data"}


def test_a_script_runs_as_it_is_now_whatever_was_compiled_before(project: Project) -> None:
    path = project.script("edited", body="raise ValueError(1)")
    project.run("migrate", "--data")
    stat = path.stat()
    path.write_text(path.read_text().replace("ValueError(1)", "ValueError(2)"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert "Migration edited failed: 2" in project.run("migrate", "--data").stderr
    assert not list(project.migrations.glob("__pycache__"))


@pytest.mark.parametrize(
    ("above", "exit_code"),
    [("import sys; sys.exit(5)", 5), ("import asyncio; raise asyncio.CancelledError", 1)],
)
def test_whatever_a_script_raises_when_it_is_loaded_is_its_failure(
    project: Project, above: str, exit_code: int
) -> None:
    project.script("leaves", above=above)

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert "_leaves.py cannot be loaded: " in result.stderr
    assert "mpt_tool/" not in result.stderr


def test_a_type_of_the_authors_own_is_refused(project: Project) -> None:
    project.file("migrations/1_odd.py", ODD_TYPE.format(type="'other'"))

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "1_odd.py cannot be loaded: 'other' is not a valid" in result.stderr


def test_a_type_that_the_class_sets_itself_counts(project: Project) -> None:
    project.file("migrations/1_odd.py", ODD_TYPE.format(type="MigrationTypeEnum.SCHEMA"))

    assert "0 applied" in project.run("migrate", "--data").stdout
    assert "1 applied" in project.run("migrate", "--schema").stdout


ODD_TYPE = """
    from mpt_tool.enums import MigrationTypeEnum
    from mpt_tool.migration import DataBaseMigration

    class Migration(DataBaseMigration):
        type = {type}

        def run(self): ...
    """


def test_a_changed_working_folder_loses_neither_scripts_nor_settings(project: Project) -> None:
    project.file(".env", "MPT_API_TOKEN=from-the-file\nMPT_API_BASE_URL=http://127.0.0.1\n")
    project.script("leaves", above="import os; os.chdir('/')")
    project.file(
        "migrations/20270101000000_connects.py",
        """
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(DataBaseMigration, MPTAPIClientMixin):
            def run(self): print(type(self.mpt_client).__name__)
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "MPTClient" in result.stdout
    assert set(project.state()) == {"leaves", "connects"}
