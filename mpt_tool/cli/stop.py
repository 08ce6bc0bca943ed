"""`mpt-tool stop`: asks the run that holds the lock, wherever it is, to stop."""

import time
from typing import TYPE_CHECKING

from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY
from mpt_tool.errors import LockedError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.view.results import Result
from mpt_tool.wording import duration

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.storage.repository import Holder, Stoppable

log = get_log(__name__)

WAIT = "so long for its end; 90 by default."
# Longer than the time between two renewals of a lock on Airtable.
_WAIT_SECONDS = 90.0
# Between two looks whether it has stopped: at files, or over a network.
_LOOK_SECONDS, _LOOK_SECONDS_BY_REQUEST = 0.2, 3.0


@command(forms={})
def stop(
    session: "Session",
    wait: float = ANY.option(
        "--wait",
        f"wait {WAIT}",
        default=_WAIT_SECONDS,
        min=0,
        metavar="SECONDS",
        show_default=False,
    ),
) -> Result:
    """Ask the run that holds the lock to stop."""
    from mpt_tool.storage.repository import Stoppable

    repository = session.project.repository
    if not isinstance(repository, Stoppable):
        raise StorageError("This store hands on no word to stop: send SIGTERM to the run instead")
    holder = repository.holder()
    if holder is None:
        return Result(said=["Nothing to stop: nobody holds the lock."])
    if holder.is_alive is False:
        return Result(said=[f"Nothing to stop: {holder} is dead. The next run takes its lock."])
    repository.ask_to_stop(holder)
    log.info("Asked %s to stop: waiting up to %s for its end", holder, duration(wait))
    _wait_for_end(repository, holder, wait)
    return Result(said=[f"It has ended: {holder}."])


def _wait_for_end(repository: "Stoppable", holder: "Holder", wait_seconds: float) -> None:
    """Return once the holder has given the lock back, or died.

    Raises:
        LockedError: it did not within so many seconds.
    """
    gives_up_at = time.monotonic() + wait_seconds
    # A sign of life by request stands for a store on a network.
    pause = _LOOK_SECONDS if holder.silent_seconds is None else _LOOK_SECONDS_BY_REQUEST
    while _is_there(repository, holder):
        left = gives_up_at - time.monotonic()
        if left <= 0:
            raise LockedError(
                f"{holder} has not ended yet: it stops as soon as what it is at allows. See"
                " mpt-tool status, or wait on with mpt-tool stop"
            )
        time.sleep(min(pause, left))


def _is_there(repository: "Stoppable", holder: "Holder") -> bool:
    """Whether this one still holds the lock; so it is taken to be if the store does not answer."""
    try:
        now = repository.holder()
    except StorageError as error:
        log.warning("Whether it has ended cannot be told, trying again: %s", error)
        return True
    if now is None or now.is_alive is False:
        return False
    return (now.name, now.since) == (holder.name, holder.since)
