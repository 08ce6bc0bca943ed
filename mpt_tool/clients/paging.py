"""Walks over all items of a service or a table in an order that is always the same."""

from collections.abc import Iterator, Sequence
from itertools import batched, pairwise
from typing import Any

from mpt_tool.process.log import get_log

# What Airtable returns at once; the ids of more would not fit into an address.
PAGE_SIZE = 100

log = get_log(__name__)


class _NoKeysetError(Exception):
    """A service does not select by `gt(id,...)`."""


def walk_service(service: Any, after: str | None, rql: Any, page_size: int) -> Iterator[Any]:
    """Yield the items of a collection of the platform in the order of their ids.

    By keyset: each page is asked for as what comes after the last id, so that nothing is skipped or
    repeated when items come and go meanwhile. If the service cannot, by pages that overlap, from
    the first one on: that skips nothing either, but reads what lies before `after` again. Which of
    the two is logged.

    Args:
        service: a collection service of mpt-api-client.
        after: the id to begin after; None for the beginning.
        rql: an `RQLQuery` that selects some of the items; None for all.
        page_size: how many items to ask for at once.
    """
    ordered = (service.filter(rql) if rql is not None else service).order_by("id")
    last = after
    try:
        for item in _by_keyset(ordered, after, page_size):
            yield item
            last = item.id
    except _NoKeysetError:
        log.info("%s cannot select by id: walking it by pages that overlap", service.path)
    else:
        log.debug("%s was walked by keyset", service.path)
        return
    yield from _by_pages(ordered, last, page_size)


def walk_table(table: Any, after: str | None, formula: str | None, page_size: int) -> Iterator[Any]:
    """Yield the rows of an Airtable table in the order of their record ids.

    The ids are read first, then the rows page by page, so that each is as it was a moment ago. A
    row that is created meanwhile is not among them.

    Args:
        table: a table of pyairtable.
        after: the record id to begin after; None for the beginning.
        formula: selects some of the rows; None for all.
        page_size: how many rows to ask for at once.
    """
    options = {"formula": formula} if formula else {}
    ids = sorted(row["id"] for page in table.iterate(**options) for row in page)
    rest = [each for each in ids if after is None or each > after]
    for some in batched(rest, min(page_size, PAGE_SIZE)):
        those = ", ".join(f'RECORD_ID() = "{each}"' for each in some)
        rows = {row["id"]: row for row in table.all(formula=f"OR({those})")}
        # One that was deleted meanwhile is not there.
        yield from (rows[each] for each in some if each in rows)


def _by_keyset(service: Any, after: str | None, page_size: int) -> Iterator[Any]:
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
            page = list(rest.fetch_page(limit=page_size))
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
        if not page:
            return
        yield from page
        after = ids[-1]


def _by_pages(service: Any, after: str | None, page_size: int) -> Iterator[Any]:
    """Yield what comes after an id, of pages each of which begins with the end of the last."""
    offset = 0
    # Of a page of one item, that one would be the end of the last.
    page_size = max(2, page_size)
    while True:
        page = list(service.fetch_page(limit=page_size, offset=offset))
        _require_order(service, [item.id for item in page])
        if offset and after is not None and (not page or page[0].id > after):
            # Items before were removed: what stood here has moved up.
            offset = max(0, offset - page_size)
            continue
        new = [item for item in page if after is None or item.id > after]
        yield from new
        if new:
            after = new[-1].id
        if len(page) < 2:
            if not offset and list(service.fetch_page(limit=page_size, offset=1)):
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
