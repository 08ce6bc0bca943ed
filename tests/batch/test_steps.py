"""What `once` promises, of real processes that are killed at the moments that matter."""

import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.airtable_server import BASE, STATE_COLUMNS, TABLE, AirtableServer
from support.project import Project, Result

from mpt_tool.migration.steps import Steps

pytestmark = pytest.mark.slow

SYNC, ASYNC = "def", "async def"
MIGRATION = "steps"
# In `run`, in `prepare` and in `process`.
PLACES = ("run", "prepare", "process")
EVERY_PLACE = pytest.mark.parametrize("place", PLACES)
KINDS = pytest.mark.parametrize("kind", [SYNC, ASYNC])
DOUBT = "once('thing') may have made it already"
_SCRIPT = """\
import asyncio, os, signal, sys, threading
from pathlib import Path

from mpt_tool.errors import StorageError
from mpt_tool.migration import BatchDataMigration, DataBaseMigration

MADE = Path("made.txt")


class RefusedError(Exception):
    status_code = 422


def note(line):
    with open(MADE, "a") as file:
        file.write(f"{{line}}\\n")


def made():
    return MADE.read_text().split() if MADE.exists() else []


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def first_time(name):
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Migration({base}):
    {attributes}

    {kind} make(self):
        {make}

    {kind} find(self):
        {find}

    {methods}
"""
_BATCH = """\
def items(self, cursor):
    return range((cursor or 0) + 1, {total} + 1)
{kind} {place}(self{argument}):
{body}
"""
ONCE = {
    SYNC: "thing = self.once('thing', self.make{find})",
    ASYNC: "thing = await self.once('thing', self.make{find})",
}
AFTER = "with open('used.txt', 'a') as used: used.write(f'{thing}\\n')"


def write(
    project: Project,
    place: str,
    *,
    kind: str = SYNC,
    make: str = "note('thing')\nreturn 'T-1'",
    find: str | None = None,
    once: str = "",
    after: str = AFTER,
    methods: str = "",
    total: int = 1,
    **attributes: object,
) -> Path:
    """Write a migration that makes one thing once, there in the class, and notes what that made."""
    step = once or ONCE[kind].format(find="" if find is None else ", self.find")
    body = textwrap.indent(f"{step}\n{after}", "    ")
    argument = ", item" if place == "process" else ""
    if place == "run":
        base, own = "DataBaseMigration", f"{kind} run(self):\n{body}\n"
    else:
        base = "BatchDataMigration"
        own = _BATCH.format(kind=kind, place=place, argument=argument, body=body, total=total)
        if place == "prepare":
            own += "def process(self, item): pass\n"
    text = _SCRIPT.format(
        base=base,
        attributes="\n    ".join(f"{name} = {value}" for name, value in attributes.items())
        or "pass",
        kind=kind,
        make=_indented(make, 8),
        find=_indented(find or "pass", 8),
        methods=_indented(own + textwrap.dedent(methods), 4),
    )
    return project.file(f"migrations/1_{MIGRATION}.py", text)


def _indented(statements: str, width: int) -> str:
    return textwrap.indent(textwrap.dedent(statements), " " * width).strip()


def lines(project: Project, name: str = "made.txt") -> list[str]:
    path = project.root / name
    return path.read_text().split() if path.exists() else []


def migrate(project: Project) -> Result:
    return project.run("migrate", "--data")


def steps(project: Project) -> list[dict[str, Any]]:
    """Return the durable steps that the state keeps."""
    kept: list[dict[str, Any]] = project.state()[MIGRATION].get("checkpoint", {}).get("steps", [])
    return kept


def steps_of_failed(project: Project) -> list[dict[str, Any]]:
    """Return the durable steps that the history keeps of failed items."""
    failed = (item for entry in project.history() for item in entry.get("failed", ()))
    return [step for item in failed for step in item.get("steps", ())]


# --- killed


@KINDS
@EVERY_PLACE
def test_killed_after_it_was_kept_it_is_not_made_again(
    project: Project, place: str, kind: str
) -> None:
    write(project, place, kind=kind, after=f"if first_time('killed'): kill()\n{AFTER}")
    assert migrate(project).exit_code < 0

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]
    assert lines(project, "used.txt") == ["T-1"]


@KINDS
@EVERY_PLACE
def test_killed_between_making_and_keeping_it_is_found(
    project: Project, place: str, kind: str
) -> None:
    make = "note('thing')\nif first_time('killed'): kill()\nreturn 'T-1'"
    write(project, place, kind=kind, make=make, find="return 'T-1' if made() else None")
    assert migrate(project).exit_code < 0

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]
    assert lines(project, "used.txt") == ["T-1"]


@KINDS
@EVERY_PLACE
def test_killed_before_making_it_is_not_found_and_made(
    project: Project, place: str, kind: str
) -> None:
    make = "if first_time('killed'): kill()\nnote('thing')\nreturn 'T-1'"
    write(project, place, kind=kind, make=make, find="return 'T-1' if made() else None")
    assert migrate(project).exit_code < 0

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]


@KINDS
@EVERY_PLACE
def test_killed_between_making_and_keeping_it_stops_without_find(
    project: Project, place: str, kind: str
) -> None:
    make = "note('thing')\nif first_time('killed'): kill()\nreturn 'T-1'"
    write(project, place, kind=kind, make=make)
    assert migrate(project).exit_code < 0

    for _ in range(2):
        result = migrate(project)

        assert result.exit_code == 1
        assert DOUBT in result.stderr
        assert "give once() a find=" in result.stderr
    assert lines(project) == ["thing"]


@pytest.mark.parametrize("workers", [1, 4])
@KINDS
def test_killed_in_one_item_that_one_fails_and_the_others_go_on(
    project: Project, workers: int, kind: str
) -> None:
    step = ONCE[kind].format(find="").replace("self.make", "lambda: self.make_of(item)")
    write(
        project,
        "process",
        kind=kind,
        once=step,
        total=9,
        methods=f"""
        {kind} make_of(self, item):
            note(item)
            if item == 5 and first_time('killed'): kill()
            return item
        """,
        workers=workers,
        on_error="'collect'",
    )
    assert migrate(project).exit_code < 0

    result = migrate(project)

    assert result.exit_code == 1
    # What other workers made at that moment is in doubt, too.
    assert steps(project) == []
    in_doubt = [str(step["cursor"]) for step in steps_of_failed(project)]
    assert "5" in in_doubt
    assert len(in_doubt) <= workers
    assert f"Migration steps failed for {len(in_doubt)} of 9 items (" in result.stderr
    assert f"5: {DOUBT}" in result.stderr
    assert sorted({*lines(project), *in_doubt}) == list("123456789")

    assert project.run("batch", MIGRATION, "--retry-failed").exit_code == 1
    assert len(set(lines(project))) == len(lines(project))


# --- not killed


@EVERY_PLACE
def test_a_migration_that_is_run_again_after_an_error_does_not_make_it_again(
    project: Project, place: str
) -> None:
    write(project, place, after=f"if first_time('failed'): raise ValueError\n{AFTER}")
    assert migrate(project).exit_code == 1

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]
    assert lines(project, "used.txt") == ["T-1"]


@EVERY_PLACE
def test_what_was_refused_for_sure_is_made_the_next_time(project: Project, place: str) -> None:
    make = "note('try')\nif first_time('refused'): raise RefusedError('no')\nreturn 'T-1'"
    write(project, place, make=make)
    assert migrate(project).exit_code == 1

    assert migrate(project).exit_code == 0

    assert lines(project) == ["try", "try"]


@EVERY_PLACE
def test_what_failed_without_an_answer_is_not_made_again(project: Project, place: str) -> None:
    write(project, place, make="note('try')\nraise TimeoutError('no answer')")
    assert "no answer" in migrate(project).stderr

    assert DOUBT in migrate(project).stderr

    assert lines(project) == ["try"]


def test_an_item_that_is_tried_again_in_one_run_does_not_make_it_again(project: Project) -> None:
    write(
        project,
        "process",
        make="note('try')\nraise TimeoutError('no answer')",
        attempts=3,
        retry_seconds=0.01,
    )

    result = migrate(project)

    assert f"{DOUBT}, as an earlier try failed: no answer" in result.stderr
    assert lines(project) == ["try"]


@pytest.mark.parametrize("value", ["object()", "(1, 2)", "{1: 2}", "float('nan')", "Path()"])
def test_what_json_cannot_keep_is_refused_and_not_made_again(project: Project, value: str) -> None:
    write(project, "run", make=f"note('thing')\nreturn {value}")

    assert "which JSON cannot keep: return its id" in migrate(project).stderr
    assert DOUBT in migrate(project).stderr

    assert lines(project) == ["thing"]


@pytest.mark.parametrize("value", ["None", "'ü'", "{'ids': [1, None]}", "0.5"])
def test_what_was_made_is_returned_as_it_was(project: Project, value: str) -> None:
    check = f"assert thing == {value}\nif first_time('failed'): raise ValueError"
    write(project, "run", make=f"note('thing')\nreturn {value}", after=check)
    assert migrate(project).exit_code == 1

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]


def test_each_item_and_each_key_has_a_step_of_its_own(project: Project) -> None:
    once = "thing = [self.once(key, lambda: note(f'{item}{key}')) for key in 'ab']"
    write(project, "process", once=once, total=3)

    assert migrate(project).exit_code == 0

    assert lines(project) == ["1a", "1b", "2a", "2b", "3a", "3b"]


def test_steps_of_items_are_kept_until_the_cursor_has_passed_them(project: Project) -> None:
    after = "if item == 3 and first_time('failed'): raise ValueError"
    write(project, "process", after=after, total=3)

    assert migrate(project).exit_code == 1

    kept = {"key": "thing", "cursor": 3, "value": "T-1", "is_made": True}
    assert steps(project) == [kept]


def test_a_failed_item_keeps_its_steps_until_it_was_retried(project: Project) -> None:
    after = "if item == 2 and not Path('may').exists(): raise ValueError"
    methods = "def find(self, cursor): return cursor"
    write(project, "process", after=after, methods=methods, total=3, on_error="'collect'")
    assert migrate(project).exit_code == 1
    assert steps(project) == []
    assert [step["cursor"] for step in steps_of_failed(project)] == [2]
    made = lines(project)

    project.file("may", "")
    assert project.run("batch", MIGRATION, "--retry-failed").exit_code == 0

    assert lines(project) == made


def test_to_begin_anew_keeps_what_was_made(project: Project) -> None:
    write(project, "prepare", after="if first_time('failed'): raise ValueError")
    assert migrate(project).exit_code == 1

    assert project.run("batch", MIGRATION, "--restart").exit_code == 0

    assert lines(project) == ["thing"]


def test_two_targets_make_each_their_own(project: Project) -> None:
    write(project, "prepare", make="note(self.target)", targets=("A", "B"))

    assert migrate(project).exit_code == 0

    assert lines(project) == ["A", "B"]


def test_items_handled_out_of_their_turn_keep_what_they_made(project: Project) -> None:
    methods = "def find(self, cursor): return cursor"
    once = "thing = self.once('thing', lambda: note(item))"
    write(project, "process", once=once, methods=methods, total=3)

    for cursor in ("3", "2"):
        assert project.run("batch", MIGRATION, "--only", cursor).exit_code == 0
    assert migrate(project).exit_code == 0

    assert lines(project) == ["3", "2", "1"]


@pytest.mark.parametrize("option", ["--dry-run", "--rehearse"])
def test_what_is_only_tried_keeps_nothing(project: Project, option: str) -> None:
    write(project, "prepare")
    command = ["migrate", "--data"] if option == "--dry-run" else ["batch", MIGRATION]

    project.run(*command, option)

    assert not project.state_file.exists() or MIGRATION not in project.state()


def test_an_asynchronous_function_is_refused_where_nothing_awaits_it(project: Project) -> None:
    path = write(project, "run", methods="async def later(self): note('thing')")
    sound = path.read_text()
    path.write_text(sound.replace("self.once('thing', self.make", "self.once('thing', self.later"))

    refused = migrate(project)
    path.write_text(sound)

    assert "once() got an asynchronous function in a method that is not" in refused.stderr
    assert migrate(project).exit_code == 0
    assert lines(project) == ["thing"]


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_a_key_that_is_used_twice_at_a_time_is_not_made_twice(project: Project, kind: str) -> None:
    both = {
        SYNC: """
            errors = []
            def step():
                try:
                    self.once('thing', self.slow, self.find)
                except Exception as error:
                    errors.append(error)
            threads = [threading.Thread(target=step) for _ in range(2)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        """,
        ASYNC: """
            steps = [self.once('thing', self.slow, self.find) for _ in range(2)]
            errors = await asyncio.gather(*steps, return_exceptions=True)
            errors = [error for error in errors if isinstance(error, Exception)]
        """,
    }
    methods = {
        SYNC: """
            both = threading.Event()
            def slow(self):
                note('thing')
                self.both.wait(0.3)
        """,
        ASYNC: """
            async def slow(self):
                note('thing')
                await asyncio.sleep(0.1)
        """,
    }
    after = "[error] = errors\nassert 'under way already' in str(error)"
    write(
        project,
        "run",
        kind=kind,
        once=textwrap.dedent(both[kind]),
        after=after,
        methods=textwrap.dedent(methods[kind]),
    )

    assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]


def test_a_thread_that_an_item_begins_is_told_that_its_item_is_not_known(project: Project) -> None:
    once = """\
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        thing = pool.submit(self.once, 'thing', self.make).result()
    """
    write(project, "process", once=textwrap.dedent(once), total=2)

    assert "does not know for which item it is" in migrate(project).stderr

    assert lines(project) == []


def test_steps_of_threads_and_tasks_are_all_kept(project: Project) -> None:
    once = """\
    numbers = range(20)
    await asyncio.gather(*(
        self.once(f'{number}', lambda number=number: note(number)) for number in numbers
    ))
    """
    write(
        project,
        "run",
        kind=ASYNC,
        once=textwrap.dedent(once),
        after="if first_time('failed'): raise ValueError",
    )
    assert migrate(project).exit_code == 1
    assert len([step for step in steps(project) if step["is_made"]]) == 20

    assert migrate(project).exit_code == 0

    assert sorted(lines(project), key=int) == [str(number) for number in range(20)]


# --- where it cannot be kept


@EVERY_PLACE
def test_nothing_is_made_where_it_cannot_be_kept_whatever_the_author_catches(
    project: Project, place: str
) -> None:
    """The state is a folder by then: the save of the mark fails."""
    once = """\
    Path('.migrations-state.json').rename('moved.json')
    os.mkdir('.migrations-state.json')
    for key in 'ab':
        try:
            self.once(key, self.make)
        except Exception as error:
            self.log.info('caught %s', type(error).__name__)
    os.rmdir('.migrations-state.json')
    Path('moved.json').rename('.migrations-state.json')
    """
    write(project, place, once=textwrap.dedent(once), after="", on_error="'collect'", total=3)

    result = migrate(project)

    assert result.exit_code == 1
    assert "caught StorageError" in result.stderr
    assert ".migrations-state.json" in result.stderr
    assert lines(project) == []
    assert project.outcomes() == [(MIGRATION, "failed")]
    assert steps(project) == []


@pytest.mark.parametrize("targets", [(), ("A",)])
@EVERY_PLACE
def test_a_table_without_the_column_is_told_before_anything_is_made(
    project: Project, place: str, targets: tuple[str, ...]
) -> None:
    write(project, place, targets=targets)
    with AirtableServer() as server:
        server.add_table(BASE, TABLE, STATE_COLUMNS)
        project.environment |= server.settings

        result = migrate(project)
        column = "targets" if targets else "checkpoint"
        assert result.exit_code == 1
        assert f"once() cannot keep what {MIGRATION}" in result.stderr
        assert f"no column {column}; mpt-tool migrate --init adds the column" in result.stderr
        assert lines(project) == []

        assert project.run("migrate", "--init").exit_code == 0
        assert migrate(project).exit_code == 0
    assert lines(project) == ["thing"]


@EVERY_PLACE
def test_on_airtable_it_is_not_made_again_after_a_kill(project: Project, place: str) -> None:
    write(project, place, after=f"if first_time('killed'): kill()\n{AFTER}")
    with AirtableServer() as server:
        server.add_base(BASE)
        project.environment |= server.settings
        assert project.run("migrate", "--init").exit_code == 0
        assert migrate(project).exit_code < 0
        for claim in server.claims():
            server.delete_row(BASE, TABLE, claim["id"])

        assert migrate(project).exit_code == 0

    assert lines(project) == ["thing"]
    assert lines(project, "used.txt") == ["T-1"]


def test_steps_that_wait_for_a_save_are_saved_together() -> None:
    """The first save lasts until all have noted theirs: one more save is enough for the others."""
    count = 8
    saves: list[int] = []
    saves_before_making: list[int] = []
    all_noted = threading.Event()
    together = threading.Barrier(count, lambda: saves_before_making.append(len(saves)))

    def save() -> None:
        saves.append(1)
        while not all_noted.is_set() and len(waiting.kept()) < count:
            all_noted.wait(0.01)
        all_noted.set()

    waiting = Steps(save=save)
    with ThreadPoolExecutor(count) as pool:
        made = [pool.submit(waiting.once, str(key), together.wait, None) for key in range(count)]
        assert sorted(each.result() for each in made) == list(range(count))

    assert saves_before_making == [2]
