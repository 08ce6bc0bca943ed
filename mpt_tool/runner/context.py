"""What a run needs of the world around it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mpt_tool.batch.items import Budget
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.process.signals import Stop
from mpt_tool.records import Origin
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Reporter

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Context:
    """What a run needs of the world around it.

    `time_limits` are in seconds, 0 for none. `missing` are the optional keys of records that the
    store cannot keep. `budget` is what a run may handle of items. `batch_executor` is the address
    of a Dask scheduler, for migrations whose items are processed in other processes.
    """

    origin: Origin
    clock: Clock
    redact: Redact
    stop: Stop
    time_limits: Mapping[MigrationTypeEnum, float]
    reporter: Reporter
    missing: Collection[str] = ()
    budget: Budget = field(default_factory=Budget)
    batch_executor: str = ""
