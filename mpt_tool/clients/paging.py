"""Walks over all items of a service or a table in an order that is always the same.

Each walk is written once, for the synchronous and the asynchronous client: see `at_once`.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from inspect import iscoroutinefunction
from itertools import batched, chain, islice, pairwise
from typing import Any, NamedTuple, cast

from mpt_tool.clients.at_once import items_at_once, result_at_once
from mpt_tool.process.log import get_log

# What Airtable returns at once; the ids of more would not fit into an address.
PAGE_SIZE = 100

log = get_log(__name__)

# Of which services was said what their lists leave out.
_told_omissions: set[tuple[str, tuple[str, ...]]] = set()


class Walk(Iterator[Any], AsyncIterator[Any]):
    """An iterator, or an asynchronous one: which of them, who asks for a walk knows by its source.

    Typed as both, since a union would have each script ask.
    """


class _NoKeysetError(Exception):
    """A service does not select by `gt(id,...)`."""


# --- what a source is


def is_async(source: object) -> bool:
    """Whether what comes of a source is awaited: of an asynchronous service or iterable."""
    return hasattr(source, "__aiter__") or iscoroutinefunction(getattr(source, "fetch_page", None))


def id_of(item: Any) -> Any:
    """Return the id of an item: of an object, a row, or one that is an id itself."""
    return item["id"] if isinstance(item, dict) else getattr(item, "id", item)


def _is_service(source: object) -> bool:
    return hasattr(source, "fetch_page")


def _walked(source: object) -> Callable[..., AsyncGenerator[Any, None]] | None:
    """Return what walks over a service or a table; None for anything else."""
    if _is_service(source):
        return _walk_service
    return _walk_table if hasattr(source, "iterate") else None


def is_source(source: object) -> bool:
    """Whether there is a walk over it by ids: it is a service or a table."""
    return _walked(source) is not None


def require_unordered(source: Any) -> None:
    """Return unless a service was given an order.

    Raises:
        TypeError: it was: a walk goes by the ids, which come in no other order.
    """
    if _is_service(source) and source.query_state.order_by:
        order = ", ".join(map(repr, source.query_state.order_by))
        raise TypeError(
            f"{source.path} is ordered, and is walked in the order of its ids:"
            f" take .order_by({order}) out"
        )


# --- what it is asked


def walk(source: Any, after: str | None, filter: Any, page_size: int) -> Walk:  # noqa: A002 - the word of both clients
    """Return the items of a service or a table in the order of their ids.

    Of a service by keyset: each page is asked for as what comes after the last id, so that nothing
    is skipped or repeated when items come and go meanwhile. If the service cannot, by pages that
    overlap, from the first one on: that skips nothing either, but reads what lies before `after`
    again. Which of the two is logged.

    Of a table the ids are read first, then the rows page by page, so that each is as it was a
    moment ago. A row that is created meanwhile is not among them.

    Args:
        source: a collection service of mpt-api-client, which makes the walk asynchronous if it is,
            or a table of pyairtable. What it selects and filters holds.
        after: the id to begin after; None for the beginning.
        filter: selects some of the items: an `RQLQuery`, or a formula; None for all.
        page_size: how many items to ask for at once.

    Raises:
        TypeError: the source is neither, or was given an order, or what is given is not of the type
            that it takes.
    """
    walked = _walked(source)
    if walked is None:
        raise TypeError(f"each() walks a service or a table, not {type(source).__name__}")
    if not (after is None or isinstance(after, str)):
        raise TypeError(f"each() begins after an id, which is text, not after {after!r}")
    if isinstance(filter, str) and _is_service(source):
        raise TypeError("each() filters a service by an RQLQuery, not by text")
    require_unordered(source)
    items = walked(source, after, filter, page_size)
    return cast(Walk, items if is_async(source) else items_at_once(items))


def count_of(source: Any) -> Any:
    """Return how many items a service or a table has now, None if it does not say.

    If the source is asynchronous, that has to be awaited.
    """
    return _in_its_way(source, _count(source))


def find_in(source: Any, item_id: str) -> Any:
    """Return the item of an id, None if the service or table has none that it selects.

    If the source is asynchronous, that has to be awaited.
    """
    return _in_its_way(source, _find(source, item_id))


def _in_its_way(source: Any, work: Coroutine[Any, Any, Any]) -> Any:
    return work if is_async(source) else result_at_once(work)


async def _count(source: Any) -> int | None:
    if not _is_service(source):
        # Airtable has no count.
        return sum(len(page) for page in source.iterate(page_size=PAGE_SIZE))
    page = await _fetch(source, limit=0)
    total = _meta(page).get("pagination", {}).get("total")
    return total if isinstance(total, int) else None


async def _find(source: Any, item_id: str) -> Any:
    if not _is_service(source):
        return _rows(source, [item_id]).get(item_id)
    from mpt_api_client import RQLQuery

    return next(iter(await _fetch(source.filter(RQLQuery(id=item_id)), limit=1)), None)


async def _fetch(service: Any, *, limit: int, offset: int = 0) -> Any:
    """Return a page, of how many items ever, of an asynchronous service or another."""
    page = service.fetch_page(limit=limit, offset=offset)
    return await page if isinstance(page, Awaitable) else page


def _meta(page: Any) -> Any:
    """Return what a page says of itself; older clients do not keep all of it."""
    return page.meta.response.json().get("$meta", {}) if page.meta else {}


# --- a service


async def _walk_service(
    service: Any, after: str | None, rql: Any, page_size: int
) -> AsyncGenerator[Any, None]:
    ordered = (service.filter(rql) if rql is not None else service).order_by("id")
    last = after
    try:
        async for item in _by_keyset(ordered, after, page_size):
            yield item
            last = item.id
    except _NoKeysetError:
        log.info("%s cannot select by id: walking it by pages that overlap", service.path)
    else:
        log.debug("%s was walked by keyset", service.path)
        return
    async for item in _by_pages(ordered, last, page_size):
        yield item


async def _by_keyset(service: Any, after: str | None, page_size: int) -> AsyncGenerator[Any, None]:
    """Yield what comes after an id.

    Raises:
        _NoKeysetError: the service refuses to select by id, or does something else then.
    """
    # What a service answers that cannot: an error of its own, until it has shown that it can.
    refusals = {400, 500}
    from mpt_api_client import RQLQuery
    from mpt_api_client.exceptions import MPTHttpError

    while True:
        rest = service if after is None else service.filter(RQLQuery(id__gt=after))
        try:
            page = await _fetch(rest, limit=page_size)
        except MPTHttpError as error:
            if after is None or error.status_code not in refusals:
                raise
            raise _NoKeysetError from error
        if after is not None:
            refusals.discard(500)
        ids = [item.id for item in page]
        if after is not None and ids and min(ids) <= after:
            raise _NoKeysetError
        _require_order(service, ids)
        _tell_omissions(service, page)
        for item in page:
            yield item
        # Its size tells nothing: a service may give less than was asked for.
        if not ids or (page.meta and page.meta.pagination.total == len(ids)):
            return
        after = ids[-1]


async def _by_pages(service: Any, after: str | None, page_size: int) -> AsyncGenerator[Any, None]:
    """Yield what comes after an id, of pages each of which begins with the end of the last."""
    offset = 0
    # Of a page of one item, that one would be the end of the last.
    page_size = max(2, page_size)
    while True:
        page = list(await _fetch(service, limit=page_size, offset=offset))
        _require_order(service, [item.id for item in page])
        if offset and after is not None and (not page or page[0].id > after):
            # Items before were removed: what stood here has moved up.
            offset = max(0, offset - page_size)
            continue
        new = [item for item in page if after is None or item.id > after]
        for item in new:
            yield item
        if new:
            after = new[-1].id
        if len(page) < 2:
            if not offset and list(await _fetch(service, limit=page_size, offset=1)):
                raise ValueError(f"{service.path} gives one item a page, which no page can overlap")
            return
        offset += len(page) - 1


def _require_order(service: Any, ids: Sequence[str]) -> None:
    """Refuse an order in which what comes after an id cannot be told.

    Raises:
        ValueError: the ids are in another order than that of their characters.
    """
    for one, other in pairwise(ids):
        if one > other:
            raise ValueError(
                f"{service.path} gives {one} before {other}, which is not the order of their"
                " characters: walk it without each(), by a cursor of your own"
            )


def _tell_omissions(service: Any, page: Any) -> None:
    """Log once what the items of a service come without, so that nobody takes it for empty."""
    known = getattr(page.meta, "omitted", None)
    fields = tuple(_meta(page).get("omitted", ()) if known is None else known)
    told = type(service).__name__, fields
    if fields and told not in _told_omissions:
        _told_omissions.add(told)
        wish = ", ".join(f'"+{field}"' for field in fields)
        log.info(
            "%s leaves out %s: .select(%s) brings what is needed of it",
            service.path,
            " and ".join(fields),
            wish,
        )


# --- a table


async def _walk_table(
    table: Any, after: str | None, formula: str | None, page_size: int
) -> AsyncGenerator[Any, None]:
    options = {"formula": formula} if formula else {}
    ids = sorted(row["id"] for page in table.iterate(**options) for row in page)
    rest = [each for each in ids if after is None or each > after]
    for some in batched(rest, min(page_size, PAGE_SIZE)):
        rows = _rows(table, some)
        for each in some:
            # One that was deleted meanwhile is not there.
            if each in rows:
                yield rows[each]


def _rows(table: Any, ids: Iterable[str]) -> dict[str, Any]:
    """Return the rows of some ids by their ids, those that there are."""
    those = ", ".join(f'RECORD_ID() = "{each}"' for each in ids)
    return {row["id"]: row for row in table.all(formula=f"OR({those})")}


# --- the items of every parent


class Child(NamedTuple):
    """An item of one of several parents."""

    parent: Any
    item: Any

    @property
    def cursor(self) -> list[Any]:
        """The ids of both, by which a walk goes on after the item."""
        return [id_of(self.parent), id_of(self.item)]


@dataclass(frozen=True, slots=True)
class _Family:
    """A parent, the source of its items, and after which of them to begin; None for all."""

    parent: Any
    items: Any
    after: Any = None


def walk_children(
    parents: Any, children: Callable[[Any], Any], after: Sequence[Any] | None = None
) -> Walk:
    """Return a `Child` for each item of each parent, in an order that is always the same.

    A parent that is gone is passed over. Where iterables are given, what comes after an id that is
    not among theirs cannot be told: all of their items come again.

    Args:
        parents: a service, a table, or an iterable whose order is always the same.
        children: returns the same of a parent. The walk is asynchronous if either is.
        after: the cursor of the `Child` to begin after; None for the beginning.

    Raises:
        TypeError: there is something else, or a service that was given an order.
    """
    _require_source(parents, "parents")
    if after is not None:
        _ids_in(after, "each_of() begins after")
    families = _families(parents, children, after)
    if is_async(parents):
        return cast(Walk, _children(families))
    # Of which kind the items are, only those of a parent can tell.
    rest = items_at_once(families)
    first = list(islice(rest, 1))
    pairs = _children(_awaited(chain(first, rest)))
    is_awaited = any(is_async(each.items) for each in first)
    return cast(Walk, pairs if is_awaited else items_at_once(pairs))


def find_child(parents: Any, children: Callable[[Any], Any], cursor: Sequence[Any]) -> Any:
    """Return the `Child` of a cursor, None if it or its parent is gone.

    If the parents or the items are asynchronous, that has to be awaited.

    Args:
        parents: a service, a table, or an iterable.
        children: returns the same of a parent.
        cursor: the ids of both.

    Raises:
        TypeError: there is something else.
    """
    _require_source(parents, "parents")
    parent_id, item_id = _ids_in(cursor, "find_of() finds")
    if is_async(parents):
        return _find_child(parents, parent_id, children, item_id)
    parent = result_at_once(_find_among(parents, parent_id))
    if parent is None:
        return None
    items = children(parent)
    return _in_its_way(items, _find_child([parent], parent_id, lambda _: items, item_id))


async def _find_child(
    parents: Any, parent_id: Any, children: Callable[[Any], Any], item_id: Any
) -> Child | None:
    parent = await _find_among(parents, parent_id)
    if parent is None:
        return None
    items = children(parent)
    _require_source(items, "children(parent)")
    item = await _find_among(items, item_id)
    return None if item is None else Child(parent, item)


async def _find_among(source: Any, item_id: Any) -> Any:
    if is_source(source):
        return await _find(source, item_id)
    async for item in _awaited(source):
        if id_of(item) == item_id:
            return item
    return None


async def _children(families: AsyncIterator[_Family]) -> AsyncGenerator[Child, None]:
    async for family in families:
        async for item in _all_after(family.items, family.after):
            yield Child(family.parent, item)


async def _families(
    parents: Any, children: Callable[[Any], Any], after: Sequence[Any] | None
) -> AsyncGenerator[_Family, None]:
    parent_id, item_id = after or (None, None)
    async for parent in _all_from(parents, parent_id):
        items = children(parent)
        _require_source(items, "children(parent)")
        yield _Family(parent, items, item_id if id_of(parent) == parent_id else None)


async def _all_from(source: Any, item_id: Any) -> AsyncGenerator[Any, None]:
    """Yield the item of an id and all after it; all if the id is None."""
    if walked := _walked(source):
        if item_id is not None and (item := await _find(source, item_id)) is not None:
            yield item
        async for item in walked(source, item_id, None, PAGE_SIZE):
            yield item
        return
    passed: list[Any] | None = None if item_id is None else []
    async for item in _awaited(source):
        if passed is not None and id_of(item) != item_id:
            passed.append(item)
        else:
            passed = None
            yield item
    for item in passed or ():
        yield item


async def _all_after(source: Any, item_id: Any) -> AsyncGenerator[Any, None]:
    """Yield all after the item of an id; all if the id is None."""
    if walked := _walked(source):
        async for item in walked(source, item_id, None, PAGE_SIZE):
            yield item
        return
    async for item in _all_from(source, item_id):
        if item_id is None or id_of(item) != item_id:
            yield item


async def _awaited(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _ids_in(cursor: Sequence[Any], use: str) -> Sequence[Any]:
    """Return the cursor of a `Child`.

    Raises:
        TypeError: it is none.
    """
    if isinstance(cursor, list) and len(cursor) == 2:
        return cursor
    raise TypeError(f"{use} [parent, item], not {cursor!r}")


def _require_source(source: Any, what: str) -> None:
    """Return if the items of a source can be walked over.

    Raises:
        TypeError: they cannot.
    """
    require_unordered(source)
    is_iterable = isinstance(source, Iterable | AsyncIterable)
    if not (_walked(source) or is_iterable) or isinstance(source, str | bytes | Mapping):
        raise TypeError(
            f"{what} is {source!r}, which each_of() cannot walk over:"
            " use a service, a table, or a list"
        )
