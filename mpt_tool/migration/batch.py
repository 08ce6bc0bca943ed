"""The base class of data migrations that walk over many items."""

import math
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Literal, final

from mpt_tool.clients.paging import walk_service, walk_table
from mpt_tool.migration.data_base import DataBaseMigration


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _is_limit(value: object) -> bool:
    return _is_amount(value) and (type(value) is int or 0 <= float(str(value)) <= 1)


def _are_errors(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, type) and issubclass(each, Exception) for each in value
    )


def _are_endings(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, str) and len(each) > 1 and each.startswith("/") for each in value
    )


_COUNT, _AMOUNT = (_is_count, "a whole number from 1 on"), (_is_amount, "a number from 0 on")
_WANTED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "workers": _COUNT,
    "batch_size": _COUNT,
    "checkpoint_seconds": _AMOUNT,
    "on_error": (lambda value: value in ("stop", "collect"), "stop or collect"),
    "max_failures": (_is_limit, "a whole number from 0 on, or a share as a float up to 1.0"),
    "attempts": _COUNT,
    "retry_on": (_are_errors, "a tuple of classes of exceptions"),
    "retry_seconds": _AMOUNT,
    "max_per_second": _AMOUNT,
    "reads": (_are_endings, "a tuple of the ends of paths, each of which begins with /"),
}


class BatchDataMigration[Item](DataBaseMigration):
    """A data migration that is stopped and resumed between items.

    Its promise:

    - The cursor moves past an item only after it, and every item before it, was processed.
    - `process` may see an item again after a crash, so it must be idempotent.
    - With `workers > 1` items of a window run side by side, and the checkpoint is the highest
      cursor below which all is done.
    - A checkpoint is saved at least every `batch_size` items or `checkpoint_seconds`, whichever
      comes first.
    - SIGTERM and SIGINT stop taking new items, let those in flight end, save the checkpoint and
      exit with 75.
    - SIGKILL replays at most what came after the last checkpoint.
    - The next run resumes there, says so, and goes on counting from there.

    A store that takes a request a save, as Airtable does, gets a checkpoint every
    `checkpoint_seconds` and no more.
    """

    workers: ClassVar[int] = 1
    """How many items are processed side by side."""
    batch_size: ClassVar[int] = 100
    """After how many items a checkpoint is saved at the latest."""
    checkpoint_seconds: ClassVar[float] = 5
    """After how many seconds a checkpoint is saved at the latest."""
    on_error: ClassVar[Literal["stop", "collect"]] = "stop"
    """Whether the first item that fails for good ends the run, or all of them at its end."""
    max_failures: ClassVar[int | float] = 500
    """How many failed items end the run early if they are collected; as a share of those that were
    handled if it is a float."""
    attempts: ClassVar[int] = 1
    """How often an item is tried if it fails with one of `retry_on`."""
    retry_on: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    """The errors after which an item is tried again."""
    retry_seconds: ClassVar[float] = 1
    """How long the first pause before another try is; each one after it is twice as long."""
    max_per_second: ClassVar[float] = 0
    """How many items a second are begun, by all workers together; 0 for as many as can be."""

    @abstractmethod
    def items(self, cursor: Any) -> Iterable[Item] | AsyncIterable[Item]:
        """Return what comes after the cursor, in an order that is always the same.

        Args:
            cursor: what `cursor` returned of the last item that is done; None for the beginning.
        """

    @abstractmethod
    def process(self, item: Item) -> Awaitable[None] | None:
        """Handle one item; it may be one that was handled before."""

    def cursor(self, item: Item) -> Any:
        """Return a JSON value that tells where the item stands in the order: its id."""
        return item["id"] if isinstance(item, dict) else getattr(item, "id", item)

    def count(self) -> int | None:
        """Return how many items there are in all, if that is known."""
        return None

    def describe(self, item: Item) -> str:
        """Return a short name of the item for messages."""
        return str(self.cursor(item))

    def find(self, cursor: Any) -> Item | Awaitable[Item]:
        """Return the item of a cursor, for `--retry-failed`."""
        raise NotImplementedError

    def each(
        self,
        source: Any,
        *,
        after: str | None = None,
        filter: Any = None,  # noqa: A002 - the word of both clients
        page_size: int = 100,
    ) -> Iterator[Any]:
        """Return all items of a service or a table, in an order that is always the same.

        Args:
            source: a collection service of `self.mpt_client`, or a table of `self.airtable_client`.
            after: the id to begin after: the cursor.
            filter: selects some: an `RQLQuery` of mpt-api-client, or a formula of Airtable.
            page_size: how many to ask for at once.

        Raises:
            TypeError: the source is neither, or what is given is not of the type that it takes.
            ValueError: the size of a page is not a whole number from 1 on.
        """
        if not (hasattr(source, "fetch_page") or hasattr(source, "iterate")):
            raise TypeError(f"each() walks a service or a table, not {type(source).__name__}")
        if not (after is None or isinstance(after, str)):
            raise TypeError(f"each() begins after an id, which is text, not after {after!r}")
        if isinstance(filter, str) and hasattr(source, "fetch_page"):
            raise TypeError("each() filters a service by an RQLQuery, not by text")
        if not _is_count(page_size):
            raise ValueError(f"page_size is {page_size!r}: use {_COUNT[1]}")
        walk = walk_service if hasattr(source, "fetch_page") else walk_table
        return walk(source, after, filter, page_size)

    @final
    def run(self) -> None:
        """Refuse: the tool drives the migration by its items."""
        raise TypeError("a batch migration is driven by its items: it cannot be called")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that would be run in two ways, or that says what nobody understands.

        Raises:
            TypeError: the class defines `run`, or inherits it from another than this one; or a
                method is asynchronous that cannot be; or a value of an attribute makes no sense.
        """
        super().__init_subclass__(**kwargs)
        others = (base for base in cls.__mro__ if base not in BatchDataMigration.__mro__)
        if any("run" in vars(base) for base in others):
            raise TypeError(
                f"{cls.__name__} defines run() and is driven by items() and process():"
                " remove run(), or derive from DataBaseMigration"
            )
        for name in ("cursor", "count", "describe"):
            if iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{name} of {cls.__name__} is asynchronous: leave out async")
        for name, (is_fine, wanted) in _WANTED.items():
            value = getattr(cls, name)
            if not is_fine(value):
                raise TypeError(f"{name} of {cls.__name__} is {value!r}: use {wanted}")
