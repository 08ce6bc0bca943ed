"""The runner for authors' tests, with pairs, targets and durable steps."""

from collections.abc import Iterator
from typing import Any

from mpt_tool.migration import BatchDataMigration
from mpt_tool.testing import BatchRunner


def test_a_pair_that_is_found_again_has_the_cursor_that_it_was_found_by() -> None:
    class Pairs(BatchDataMigration[tuple[Any, Any]]):
        on_error = "collect"

        def items(self, cursor: Any) -> Iterator[tuple[Any, Any]]:
            return self.each_of(["A", "B"], lambda _: [1, 2], after=cursor)

        def process(self, pair: tuple[Any, Any]) -> None:
            assert len(pair) == 2

        def find(self, cursor: Any) -> Any:
            return self.find_of(["A", "B"], lambda _: [1, 2], cursor)

    runner = BatchRunner(Pairs())
    runner.run(fail=[["A", 2]])
    runner.retry_failed(fail=[["A", 2]])
    assert [failure.cursor for failure in runner.failures] == [["A", 2]]
    runner.retry_failed()

    runner.assert_all_processed([["A", 1], ["A", 2], ["B", 1], ["B", 2]])


def test_a_step_that_was_made_is_not_made_again_after_a_crash() -> None:
    made: list[str] = []

    class OfTarget(BatchDataMigration[int]):
        targets = ("PRD-1",)

        def prepare(self) -> None:
            self.once("parameter", self.make)

        def make(self) -> str:
            made.append(self.target)
            return "PAR-1"

        def items(self, cursor: int | None) -> Iterator[int]:
            yield from range((cursor or 0) + 1, 10)

        def process(self, number: int) -> None:
            assert number

    runner = BatchRunner(OfTarget(), "PRD-1")
    runner.run(crash_after=5)
    runner.run()

    runner.assert_all_processed(range(1, 10))
    assert made == ["PRD-1"]
