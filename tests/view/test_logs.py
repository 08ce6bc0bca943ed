"""What is logged, by whom, and where it goes."""

import re
import textwrap

import pytest
from support.batches import numbers
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
