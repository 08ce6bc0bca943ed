"""The form of nearly every real data migration, from its first items to one more product."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.batches import MIGRATION
from support.mpt_server import AGREEMENTS, MPTServer
from support.process import Process
from support.project import Project
from support.terminal import Gate

pytestmark = pytest.mark.slow

EACH = 12
SCRIPT = """\
import os
from pathlib import Path

from mpt_api_client import RQLQuery
from mpt_tool.migration import BatchSchemaMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchSchemaMigration, MPTAPIClientMixin):
    targets = "MPT_PRODUCTS_IDS"
    workers = 4
    batch_size = 4
    on_error = "collect"

    def prepare(self):
        self.parameter = self.once("parameter", self.create_parameter, self.find_parameter)

    def create_parameter(self):
        return self.parameters.create({{"name": f"charges of {{self.target}}"}}).id

    def find_parameter(self):
        return next((each.id for each in self.parameters.iterate()), None)

    @property
    def parameters(self):
        return self.mpt_client.catalog.products.parameters(self.target)

    def source(self):
        by_product = RQLQuery(product__id=self.target) & RQLQuery(status="Active")
        return self.mpt_client.commerce.agreements.filter(by_product).select("+audit")

    def process(self, agreement):
        if agreement.id == os.environ.get("HOLDS"):
            self.log.info("is held")
            {wait}
        assert agreement.audit
        if int(agreement.id[-1]) % 3 == 0:
            return "right already"
        agreements = self.mpt_client.commerce.agreements
        agreements.update(agreement.id, {{"parameter": self.parameter}})
        return "changed"

    def verify(self):
        left = [each for each in self.source().iterate() if "parameter" not in each.to_dict()]
        assert len(left) == {right}, left
"""
RIGHT = sum(number % 10 % 3 == 0 for number in range(10, 10 + EACH))


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    """A platform with three products, each with its agreements, some of which are not active."""
    with MPTServer() as server:
        for product in "123":
            for number in range(10, 10 + EACH):
                add_agreement(server, product, number, "Active")
            add_agreement(server, product, 10 + EACH, "Draft")
        project.environment = {**server.settings, "MPT_PRODUCTS_IDS": "PRD-1,PRD-2"}
        yield server


def add_agreement(server: MPTServer, product: str, number: int, status: str) -> None:
    fields = {"product": {"id": f"PRD-{product}"}, "status": status, "audit": "here"}
    server.add_agreement(f"AGR-{product}-{number}", **fields)


def updates(server: MPTServer) -> Counter[str]:
    """Return how often each agreement was changed."""
    return Counter(request.path.rpartition("/")[2] for request in server.requests("PUT"))


def expected(products: str) -> set[str]:
    """Return the agreements of these products that are to be changed."""
    numbers = [number for number in range(10, 10 + EACH) if number % 10 % 3]
    return {f"AGR-{product}-{number}" for product in products for number in numbers}


def test_the_form_is_limited_killed_resumed_verified_and_run_for_one_more_product(
    project: Project, platform: MPTServer, tmp_path: Path
) -> None:
    with Gate(tmp_path / "gate") as gate:
        text = SCRIPT.format(wait=gate.wait, right=RIGHT)
        project.file(f"migrations/1_{MIGRATION}.py", text)

        limited = project.run("batch", MIGRATION, "--limit", "10")
        assert (limited.exit_code, sum(updates(platform).values()) <= 10) == (75, True)

        with Process(project, "batch", MIGRATION, env={"HOLDS": "AGR-2-15"}) as run:
            run.wait_for("is held")
            run.kill()
        gate.open()

    resumed = project.run("batch", MIGRATION)
    assert resumed.exit_code == 0, resumed.stderr
    assert updates(platform).keys() == expected("12")
    assert sum(count - 1 for count in updates(platform).values()) <= 4
    outcomes = [
        attempt["outcomes"] for attempt in project.attempts() if attempt["outcome"] == "applied"
    ]
    assert outcomes == [{"changed": EACH - RIGHT, "right already": RIGHT}] * 2
    assert f"{EACH - RIGHT} changed, {RIGHT} right already\n" in resumed.stdout

    project.environment["MPT_PRODUCTS_IDS"] += ",PRD-3"
    assert project.run("pending").exit_code == 3
    one_more = project.run("batch", MIGRATION)
    assert one_more.exit_code == 0, one_more.stderr
    assert updates(platform).keys() == expected("123")
    created = [request.path for request in platform.requests("POST")]
    assert len(created) == 3
    assert project.run("pending").exit_code == 0
    agreements = platform.items(AGREEMENTS)
    assert {each["id"] for each in agreements if "parameter" in each} == expected("123")
