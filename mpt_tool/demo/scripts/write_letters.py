import time
from collections.abc import Iterable

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration[int]):
    def count(self) -> int:
        return 120

    def items(self, cursor: int | None) -> Iterable[int]:
        return range((cursor or 0) + 1, self.count() + 1)

    def cursor(self, client: int) -> int:
        return client

    def process(self, client: int) -> str:
        time.sleep(0.04)  # as a service would
        with (self.project_root / "letters.txt").open("a") as letters:
            letters.write(f"Dear client {client}\n")
        return "by mail" if client % 10 else "by post"
