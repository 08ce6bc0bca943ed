"""What is logged, by whom, and where it goes."""

import re
import textwrap

import pytest
from support.batches import ASYNC, SYNC, numbers
from support.project import Project

SET_UPS = {
    "basicConfig": "logging.basicConfig(force=True, level=logging.ERROR, format='%(message)s')",
    "dictConfig": """
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"handlers": ["own"], "level": "ERROR"},
        })
        """,
    "dictConfig without a handler": "logging.config.dictConfig({'version': 1})",
    "disable": "logging.disable(logging.CRITICAL)",
    "handlers that are taken away": "logging.getLogger().handlers.clear()",
    "a level": "logging.getLogger('mpt_tool').setLevel(logging.CRITICAL)",
    "a level of its handlers": "logging.getLogger().handlers[0].setLevel(logging.CRITICAL)",
    "another factory": "logging.setLogRecordFactory(lambda *_, **__: 1 / 0)",
    "names of levels": "logging.addLevelName(logging.ERROR, '\\033[31mE')",
    "another class": "logging.setLoggerClass(type('Mute', (logging.Logger,), {'disabled': True}))",
}


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_our_lines_and_the_failures_of_items_are_logged_whatever_a_script_sets_up(
    project: Project, set_up: str
) -> None:
    body = f"""
        import logging, logging.config
        if number == 1:
            {textwrap.indent(textwrap.dedent(set_up), " " * 12).strip()}
        if number == 2:
            raise ValueError("it is even")
        """
    numbers(project, body, on_error="'collect'", total=3)

    result = project.run("migrate", "--data")

    logged = [line.split(" - ", 1)[1] for line in result.stderr.splitlines() if " - " in line]
    assert logged[0] == "INFO - Running migration: numbers"
    assert logged[1].startswith("ERROR - 2 failed: it is even\\nTraceback (most recent call last):")
    assert result.exit_code == 1


def test_a_script_that_sets_up_logging_has_its_own_lines_its_own_way(project: Project) -> None:
    project.script(
        "first",
        above="import logging, logging.config",
        body=f"""
        {textwrap.indent(textwrap.dedent(SET_UPS["dictConfig"]), " " * 8).strip()}
        logging.getLogger("shop").error("in a form of its own")
        logging.getLogger("shop").info("below its level")
        """,
    )
    project.script("second", body="self.log.info('in ours')")

    result = project.run("migrate", "--data")

    lines = [re.sub(r"^\d{4}-\S+ \S+ - | in \d.*", "", line) for line in result.stderr.splitlines()]
    assert lines == [
        "INFO - Running migration: first",
        "in a form of its own",
        "INFO - Applied migration: first",
        "INFO - Running migration: second",
        "INFO - in ours",
        "INFO - Applied migration: second",
    ]


def test_what_is_raised_as_the_process_ends_is_not_told(project: Project) -> None:
    project.script(
        "first",
        above="""
        import builtins, logging, os

        class Connection:
            def __init__(self, token):
                self.token = token

            def __del__(self):
                raise RuntimeError(self.token)
        """,
        body="builtins.a = logging.b = Connection(os.environ['SHOP_TOKEN'])",
    )

    result = project.run("migrate", "--data", env={"SHOP_TOKEN": "token-12345"})

    assert result.exit_code == 0
    assert " - INFO - Applied migration: first in " in result.stderr.splitlines()[-1]


def test_a_thread_that_exits_ends_and_that_is_all(project: Project) -> None:
    project.script(
        "first", above="import sys, threading", body="threading.Thread(target=sys.exit).start()"
    )

    result = project.run("migrate", "--data")

    assert "Exception" not in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("process", "workers"),
    [(SYNC, 1), (ASYNC, 1), (SYNC, 3), (ASYNC, 3)],
    ids=["sync", "async", "sync workers", "async workers"],
)
def test_a_line_that_process_logs_names_its_item(
    project: Project, process: str, workers: int
) -> None:
    body = """
    import logging
    self.log.info("is logged by %s", number)
    logging.getLogger("a.library").warning("warns about %s", number)
    """
    describe = (
        "def describe(self, number):\n    self.log.info('a name')\n    return f'no. {number}'"
    )
    numbers(project, body, process=process, workers=workers, methods=describe, total=20)

    logged = project.run("migrate", "--data").stderr

    named = re.findall(r" - no\. (\d+): (?:is logged by|warns about) (\d+)\n", logged)
    assert sorted(named) == sorted([(str(each), str(each)) for each in range(1, 21)] * 2)
    assert re.search(r"INFO - Applied migration: numbers in ", logged)


def test_a_line_of_a_bundle_names_its_first_item(project: Project) -> None:
    methods = "def process_many(self, numbers): self.log.info('%s items', len(numbers))"
    numbers(project, methods=methods, many=4)

    logged = project.run("migrate", "--data").stderr

    assert re.findall(r" - INFO - (.+) items\n", logged) == [
        "1 and 3 more: 4",
        "5 and 3 more: 4",
        "9 and 1 more: 2",
    ]
