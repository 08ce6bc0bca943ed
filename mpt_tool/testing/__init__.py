"""For the tests of others: of batch migrations, and of storage backends. Needs pytest."""

from mpt_tool.batch.drive import ItemError
from mpt_tool.testing.batches import BatchRunner, InjectedError
from mpt_tool.testing.storage import (
    MemoryRepository,
    OpenRepository,
    StateRepositoryContract,
    open_memory,
)

__all__ = [
    "BatchRunner",
    "InjectedError",
    "ItemError",
    "MemoryRepository",
    "OpenRepository",
    "StateRepositoryContract",
    "open_memory",
]
