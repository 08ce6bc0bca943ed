"""The base classes of migrations that walk over many items."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Literal, Self, final

from mpt_tool.clients.paging import (
    Child,
    Walk,
    count_of,
    find_child,
    find_in,
    id_of,
    is_source,
    walk,
    walk_children,
)
from mpt_tool.migration.attributes import COUNT, is_count, require_sound, warn_of_near_misses
from mpt_tool.migration.base import BaseMigration
from mpt_tool.migration.data_base import DataBaseMigration
from mpt_tool.migration.schema_base import SchemaBaseMigration

type Outcomes = str | Sequence[str | None] | None


class BatchMigration[Item](BaseMigration):
    """A migration that is stopped and resumed between items.

    Its promise:

    - The cursor moves past an item only after it, and every item before it, was processed.
    - `process` may see an item again after a crash, so it must be idempotent.
    - With `workers > 1` items of a window run side by side, and the checkpoint is the highest
      cursor below which all is done.
    - A checkpoint is saved at least every `batch_size` items or `checkpoint_seconds`, whichever
      comes first.
    - SIGTERM and SIGINT stop taking new items, let those in flight end, save the checkpoint and
      exit with 75. An item that waits for its next try, or for a service that put it off, is left
      to the next run.
    - SIGKILL replays at most what came after the last checkpoint.
    - The next run resumes there, says so, and goes on counting from there.
    - Each target has a record and a cursor of its own. One that fails does not keep the others from
      their turn. The migration is applied when all are, and a target that is added later is pending
      alone.
    - What a step of `once` made is kept before `once` returns, and is not made again. Where a run
      died between making and keeping it, `find` is asked; without it the item, or the migration,
      fails.
    - An outcome is counted when the cursor moves past its item, and the counts go on at a resume.
    - If `process_many` raises, each of its items is handled alone, so that just those fail that
      have to.
    - `verify` is called before the migration counts as applied. If it raises, the migration has
      failed, its progress is kept, and the next run begins with it.

    A store that takes a request a save, as Airtable does, gets a checkpoint every
    `checkpoint_seconds` and no more.
    """

    workers: ClassVar[int] = 1
    """How many items are processed side by side."""
    executor: ClassVar[Literal["thread", "process"]] = "thread"
    """Whether they are in threads of one process, or each in a process of its own: for `process`
    that computes."""
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
    max_requests_per_second: ClassVar[float] = 0
    """How many requests a second the mixins' clients send, for all workers together; 0 for as many
    as whoever is asked takes."""
    many: ClassVar[int] = 1
    """How many items `process_many` gets at once, at most."""

    def prepare(self) -> Awaitable[None] | None:
        """Make sure of what all items need, before the first one.

        Called once a run in the main thread, before `count`, `items` and `find`, in a dry run, a
        rehearsal and `--retry-failed` too. What must not be made again is made by `once`.
        """

    def source(self) -> Any:
        """Return what the items are in: a service of a client of the platform, or a table.

        `items`, `count` and `find` follow from it: what it selects and filters holds for all three.
        It is given no order, for it is walked in that of its ids.
        """
        raise NotImplementedError

    def items(self, cursor: Any) -> Iterable[Item] | AsyncIterable[Item]:
        """Return what comes after the cursor, in an order that is always the same.

        By default, the items of `source`.

        Args:
            cursor: what `cursor` returned of the last item that is done; None for the beginning.
        """
        items: Iterable[Item] | AsyncIterable[Item] = self.each(self._source(), after=cursor)
        return items

    def process(self, item: Item) -> Awaitable[str | None] | str | None:
        """Handle one item; it may be one that was handled before.

        Returns:
            The outcome, by which it is counted, such as `changed`; or nothing.
        """
        raise NotImplementedError

    def process_many(self, items: Sequence[Item]) -> Awaitable[Outcomes] | Outcomes:
        """Handle up to `many` items at once, instead of `process`.

        If this raises, it is called for each of them alone, so that failures are told apart.

        Returns:
            The outcome of all, or those of each, or nothing.
        """
        raise NotImplementedError

    def cursor(self, item: Item) -> Any:
        """Return a JSON value that tells where the item stands in the order: its id."""
        return item.cursor if isinstance(item, Child) else id_of(item)

    def count(self) -> Awaitable[int | None] | int | None:
        """Return how many items there are in all, if that is known.

        By default, those of `source`. An error is a warning: the run goes on without the number.
        """
        total: Awaitable[int | None] | int | None = None
        return count_of(self._source()) if self.has_source() else total

    def describe(self, item: Item) -> str:
        """Return a short name of the item for messages."""
        return str(self.cursor(item))

    def find(self, cursor: Any) -> Awaitable[Item | None] | Item | None:
        """Return the item of a cursor, for `--retry-failed` and `--only`; None if it is gone.

        By default, that of `source`.
        """
        item: Awaitable[Item | None] | Item | None = find_in(self._source(), cursor)
        return item

    def each(
        self,
        source: Any,
        *,
        after: str | None = None,
        filter: Any = None,  # noqa: A002 - the word of both clients
        page_size: int = 100,
    ) -> Walk:
        """Return all items of a service or a table, in an order that is always the same.

        Args:
            source: a collection service of `self.mpt_client` or `self.async_mpt_client`, or a table
                of `self.airtable_client`.
            after: the id to begin after: the cursor.
            filter: selects some: an `RQLQuery` of mpt-api-client, or a formula of Airtable.
            page_size: how many to ask for at once.

        Raises:
            TypeError: the source is neither, or was given an order, or what is given is not of the
                type that it takes.
            ValueError: the size of a page is not a whole number from 1 on.
        """
        if not is_count(page_size):
            raise ValueError(f"page_size is {page_size!r}: use {COUNT}")
        return walk(source, after, filter, page_size)

    def each_of(
        self,
        parents: Any,
        children: Callable[[Any], Any],
        *,
        after: Sequence[Any] | None = None,
    ) -> Walk:
        """Return the items of every parent, each a pair of the two, in an order always the same.

        The cursor of a pair is `[parent id, item id]`, so that a run goes on in the middle of a
        parent.

        Args:
            parents: a service, a table, or an iterable whose order is always the same.
            children: returns the same of a parent.
            after: the cursor.

        Raises:
            TypeError: there is something else, or a service that was given an order.
        """
        return walk_children(parents, children, after)

    def find_of(
        self, parents: Any, children: Callable[[Any], Any], cursor: Sequence[Any]
    ) -> Awaitable[Child | None] | Child | None:
        """Return the pair of a cursor of `each_of`, for `find`; None if either is gone.

        Args:
            parents: those of `each_of`.
            children: the same.
            cursor: `[parent id, item id]`.

        Raises:
            TypeError: there is something else.
        """
        pair: Awaitable[Child | None] | Child | None = find_child(parents, children, cursor)
        return pair

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
        others = (base for base in cls.__mro__ if base not in BatchMigration.__mro__)
        if any("run" in vars(base) for base in others):
            raise TypeError(
                f"{cls.__name__} defines run() and is driven by items() and process():"
                " remove run(), or derive from another base"
            )
        for name in ("source", "cursor", "describe"):
            if iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{name} of {cls.__name__} is asynchronous: leave out async")
        require_sound(cls)
        warn_of_near_misses(cls, [name for name in dir(BatchMigration) if name[0] != "_"])

    def __new__(cls) -> Self:
        """Refuse what cannot be driven.

        Raises:
            TypeError: the class says nothing of its items, or not what is to be done with each, or
                says it twice, or gets many of them at once with nothing to handle that.
        """
        if cls.items is BatchMigration.items and not cls.has_source():
            raise TypeError(f"{cls.__name__} has no items: define source() or items()")
        handles_one = cls.process is not BatchMigration.process
        if not handles_one and not cls.handles_many():
            raise TypeError(f"{cls.__name__} handles no item: define process() or process_many()")
        if handles_one and cls.handles_many():
            raise TypeError(
                f"{cls.__name__} defines process() and process_many(), and only one is called:"
                " remove process(); where items are handled one by one, process_many() gets one"
            )
        if cls.many > 1 and not cls.handles_many():
            raise TypeError(f"{cls.__name__} sets many, which is for process_many(): define that")
        return super().__new__(cls)

    def _source(self) -> Any:
        """Return the source.

        Raises:
            TypeError: it is none.
        """
        source = self.source()
        if is_source(source):
            return source
        raise TypeError(
            f"source() returned {source!r}: return a service of a client, or a table, as it is;"
            " to walk over anything else, define items(cursor)"
        )

    @classmethod
    def finds(cls) -> bool:
        """Whether the item of a cursor can be found again."""
        return cls.find is not BatchMigration.find or cls.has_source()

    @classmethod
    def has_source(cls) -> bool:
        """Whether the items are those of a source."""
        return cls.source is not BatchMigration.source

    @classmethod
    def handles_many(cls) -> bool:
        """Whether items are handled by `process_many`."""
        return cls.process_many is not BatchMigration.process_many


class BatchDataMigration[Item](BatchMigration[Item], DataBaseMigration):
    """A data migration that is stopped and resumed between items; see `BatchMigration`."""


class BatchSchemaMigration[Item](BatchMigration[Item], SchemaBaseMigration):
    """A schema migration that is stopped and resumed between items; see `BatchMigration`."""
