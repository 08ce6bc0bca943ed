"""What a hurried author does wrong, and what the tool makes of it."""

import re
import signal
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, numbers
from support.mpt_server import MPTServer, RateLimit
from support.process import Process
from support.project import Project

RUN = ("migrate", "--data")
LOST = "async def lost(self): pass"


@pytest.mark.parametrize(
    ("body", "process"),
    [("self.lost()", "def"), ("self.lost()", ASYNC), ("self.once('a', lambda: 1)", ASYNC)],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_an_item_that_awaits_nothing_ends_the_run(
    project: Project, body: str, process: str, workers: int
) -> None:
    migration = numbers(
        project, body, process=process, methods=LOST, workers=workers, on_error="'collect'"
    )

    result = project.run(*RUN)

    assert result.exit_code == 1
    assert re.search("coroutine '.*' was never awaited, so nothing of it was done", result.stderr)
    assert migration.cursor in (None, 1, 2)


@pytest.mark.parametrize(
    ("process", "returned"),
    [("def", "[self.lost()]"), (ASYNC, "[self.lost()]"), ("def", "{'a': self.lost()}")],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_what_the_last_item_returns_and_nobody_awaits_ends_the_run(
    project: Project, process: str, workers: int, returned: str
) -> None:
    methods = f"{LOST}\n{process} process(self, number): return {returned}"
    numbers(project, methods=methods, workers=workers, total=1)

    result = project.run(*RUN)

    assert result.exit_code == 1
    assert re.search("(never awaited|nobody awaits), so nothing of it was done", result.stderr)


@pytest.mark.parametrize("returned", ["[self.lost()]", "{'a': self.lost()}"])
def test_what_run_returns_and_nobody_awaits_is_a_failure(project: Project, returned: str) -> None:
    path = project.script("first", body=f"return {returned}")
    path.write_text(f"{path.read_text()}\n    {LOST}\n")

    result = project.run(*RUN)

    assert result.exit_code == 1
    assert re.search("(never awaited|nobody awaits), so nothing of it was done", result.stderr)


@pytest.mark.parametrize("method", ["def prepare(self)", "def verify(self)"])
def test_what_prepares_or_verifies_has_to_await_too(project: Project, method: str) -> None:
    numbers(project, methods=f"{LOST}\n{method}: self.lost()")

    result = project.run(*RUN)

    assert result.exit_code == 1
    assert "lost' was never awaited, so nothing of it was done" in result.stderr


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"target": "'PRD-1'"}, "Migration sets target, which the tool does: set targets"),
        (
            {"methods": "def verify(self): return False"},
            "verify() returned False: raise an error that says what is not so",
        ),
        (
            {"methods": "def prepare(self): self.once(1, lambda: 2)"},
            "once(1) got a key of the type int: give text",
        ),
        (
            {"methods": "def prepare(self): self.once('a', 'b')"},
            "once('a') got 'b' as its make: give a function",
        ),
        (
            {
                "many": 4,
                "methods": "def process_many(self, items): return ['a']",
            },
            "process_many() returned 1 outcomes for 4 items",
        ),
    ],
)
def test_what_cannot_be_meant_fails_and_says_so(
    project: Project, attributes: dict[str, Any], said: str
) -> None:
    numbers(project, **attributes)

    result = project.run(*RUN)

    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"worker": 8}, "Migration defines worker: is workers meant?"),
        ({"methods": "def verfy(self): pass"}, "Migration defines verfy: is verify meant?"),
        ({"body": "return 3"}, "What process() returned is of the type int, so no outcome"),
        ({"total": 0}, "numbers has no items: nothing was handled"),
    ],
)
def test_what_may_be_meant_otherwise_is_warned_of(
    project: Project, attributes: dict[str, Any], said: str
) -> None:
    numbers(project, **attributes)

    result = project.run(*RUN)

    assert result.exit_code == 0
    assert result.stderr.count(said) == 1


def test_a_helper_of_another_name_is_nobody_s_mistake(project: Project) -> None:
    numbers(project, methods="def rename(self): pass\nlog_level = one = 1")

    assert "meant?" not in project.run(*RUN).stderr


@pytest.mark.parametrize("given", ["PRD-1;PRD-2", "PRD-1 PRD-2", "PRD-1,PRD-2|PRD-3"])
def test_a_list_that_is_separated_otherwise_is_refused(project: Project, given: str) -> None:
    numbers(project, targets="'SHOP_IDS'")

    result = project.run(*RUN, env={"SHOP_IDS": given})

    assert result.exit_code == 2
    assert "separate what it lists by commas" in result.stderr


@pytest.mark.parametrize("targets", ["('PRD-1')", "'PRD-1,PRD-2'"])
def test_targets_that_lack_their_tuple_are_told_so(project: Project, targets: str) -> None:
    numbers(project, targets=targets)

    result = project.run(*RUN)

    assert result.exit_code == 2
    assert "which names no variable: write a tuple, such as ('PRD-1',)" in result.stderr


def test_an_item_is_left_to_the_next_run_though_its_wait_ended_in_a_group(
    project: Project,
) -> None:
    project.file(
        f"migrations/1_{MIGRATION}.py",
        """\
        import asyncio
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            workers = 2

            def items(self, cursor):
                return range((cursor or 0) + 1, 4)

            async def make(self):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.async_mpt_client.commerce.agreements.get("AGR-1"))
                return 1

            async def process(self, item):
                await self.once("step", self.make)
        """,
    )
    with MPTServer(rate_limit=RateLimit(0, retry_after="30")) as platform:
        platform.add_agreement("AGR-1")
        project.environment = platform.settings
        with Process(project, *RUN) as run:
            run.wait_for("answered 429")
            run.send(signal.SIGTERM)
            stopped = run.wait()
        platform.rate_limit = None
        resumed = project.run(*RUN)

    assert stopped.exit_code == 143, stopped.stderr
    assert resumed.exit_code == 0, resumed.stderr


VERIFIED = """\
from mpt_tool.migration import {base}
from mpt_tool.migration.mixins import MPTAPIClientMixin

class Migration({base}, MPTAPIClientMixin):
    def {work}

    def process(self, item):
        pass

    def verify(self):
        self.mpt_client.commerce.agreements.get("AGR-1")
"""


@pytest.mark.parametrize(
    ("base", "work"),
    [
        ("DataBaseMigration", "run(self): print('it ran')"),
        ("BatchDataMigration", "items(self, cursor): return [] if cursor else [1]"),
    ],
)
def test_a_stop_while_it_is_verified_is_one_with_its_progress_kept(
    project: Project, base: str, work: str
) -> None:
    project.file(f"migrations/1_{MIGRATION}.py", VERIFIED.format(base=base, work=work))
    with MPTServer(rate_limit=RateLimit(0, retry_after="30")) as platform:
        platform.add_agreement("AGR-1")
        project.environment = platform.settings
        with Process(project, *RUN) as run:
            run.wait_for("answered 429")
            run.send(signal.SIGTERM)
            stopped = run.wait()
        platform.rate_limit = None
        resumed = project.run(*RUN)

    assert stopped.exit_code == 75, stopped.stderr
    assert "while it was verified: its progress is kept" in stopped.stderr
    assert resumed.exit_code == 0
    assert "it ran" not in resumed.stdout


def test_a_service_that_does_not_answer_makes_nothing_run_again(project: Project) -> None:
    work = "run(self): print('it ran')"
    text = VERIFIED.format(base="DataBaseMigration", work=work)
    project.file(f"migrations/1_{MIGRATION}.py", text)
    with MPTServer() as platform:
        project.environment = platform.settings
        platform.answer(500, {}, times=2)
        first, second = project.run(*RUN), project.run(*RUN)

    assert (first.exit_code, second.exit_code) == (1, 1)
    assert "it ran" in first.stdout
    assert "it ran" not in second.stdout


SECRET = "idt:TKN-1234:secret-of-the-platform"


@pytest.mark.parametrize(
    ("methods", "targets"),
    [
        (f"def cursor(self, item): return '{SECRET}'", ()),
        (f"def prepare(self): self.once('a', lambda: '{SECRET}')", ()),
        (f"def prepare(self): self.once('{SECRET}', lambda: 1)", ()),
        ("", (SECRET,)),
    ],
)
def test_a_secret_gets_into_neither_state_nor_history(
    project: Project, methods: str, targets: tuple[str, ...]
) -> None:
    attributes: dict[str, Any] = {"targets": repr(targets)} if targets else {}
    numbers(project, "assert number < 3", methods=methods, **attributes)

    result = project.run(*RUN, env={"MPT_API_TOKEN": SECRET})

    assert result.exit_code == 1
    assert "secret" in result.stderr
    kept = [each.read_text() for each in project.root.glob(".migrations-*")]
    assert not any("secret-of-the-platform" in text for text in kept)
