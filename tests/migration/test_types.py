"""What a type checker says of an author's class: `mypy`, strictly, checks this file too."""

from collections.abc import AsyncIterable, Iterable, Sequence

import pytest
from mpt_api_client import RQLQuery
from mpt_api_client.resources.commerce.agreements import (
    Agreement,
    AgreementsService,
    AsyncAgreementsService,
)
from mpt_api_client.resources.commerce.subscriptions import Subscription, SubscriptionsService

from mpt_tool.migration import BatchDataMigration, BatchMigration, BatchSchemaMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin

type Pair = tuple[Agreement, Subscription]
type Row = dict[str, object]


class OfTargets(BatchDataMigration[Agreement], MPTAPIClientMixin):
    targets = "MPT_PRODUCTS_IDS"
    requires = ("add_region",)
    workers = 8
    on_error = "collect"
    max_failures = 0.05
    retry_on = (ConnectionError,)

    def prepare(self) -> None:
        self.parameter: str = self.once("parameter", self.create, find=self.find_parameter)

    def source(self) -> AgreementsService:
        active = RQLQuery(product__id=self.target) & RQLQuery(status="Active")
        return self.mpt_client.commerce.agreements.filter(active).select("+parameters")

    def process(self, agreement: Agreement) -> str:
        if self.is_rehearsal:
            return "rehearsed"
        self.mpt_client.commerce.agreements.update(agreement.id, {"name": self.parameter})
        return "changed"

    def verify(self) -> None:
        if unnamed := [each.id for each in self.each(self.source()) if not each.name]:
            raise ValueError(unnamed)

    def create(self) -> str:
        parameters = self.mpt_client.catalog.products.parameters(self.target)
        return parameters.create({"externalId": "region"}).id

    def find_parameter(self) -> str | None:
        found = self.mpt_client.catalog.products.parameters(self.target).iterate()
        return next((each.id for each in found), None)


class OfPairs(BatchSchemaMigration[Pair], MPTAPIClientMixin):
    targets = ("PRD-1", "PRD-2")

    def items(self, cursor: list[str] | None) -> Iterable[Pair]:
        return self.each_of(self.mpt_client.commerce.agreements, self.children, after=cursor)

    def children(self, agreement: Agreement) -> SubscriptionsService:
        return self.mpt_client.commerce.subscriptions.filter(RQLQuery(agreement__id=agreement.id))

    def process(self, pair: Pair) -> str | None:
        agreement, subscription = pair
        return "changed" if agreement.id < subscription.id else None

    def find(self, cursor: list[str]) -> Pair:
        agreement_id, subscription_id = cursor
        commerce = self.mpt_client.commerce
        return commerce.agreements.get(agreement_id), commerce.subscriptions.get(subscription_id)


class Asynchronous(BatchDataMigration[Agreement], MPTAPIClientMixin):
    async def prepare(self) -> None:
        self.first: str = await self.once("first", self.make)

    async def make(self) -> str:
        return (await self.async_mpt_client.commerce.agreements.get("AGR-1")).id

    def source(self) -> AsyncAgreementsService:
        return self.async_mpt_client.commerce.agreements

    async def process(self, agreement: Agreement) -> str:
        await self.async_mpt_client.commerce.agreements.update(agreement.id, {"name": self.first})
        return "changed"

    async def count(self) -> int:
        return 3

    async def find(self, cursor: str) -> Agreement | None:
        return await self.async_mpt_client.commerce.agreements.get(cursor)

    async def verify(self) -> None:
        async for agreement in self.each(self.source()):
            self.log.info("%s", agreement.id)


class AsynchronousItems(BatchDataMigration[Agreement], MPTAPIClientMixin):
    async def items(self, cursor: str | None) -> AsyncIterable[Agreement]:
        async for agreement in self.async_mpt_client.commerce.agreements.iterate():
            yield agreement

    def process(self, agreement: Agreement) -> None:
        self.log.info("%s", agreement.id)


class OfRows(BatchDataMigration[Row], AirtableAPIClientMixin):
    many = 10

    def source(self) -> object:
        return self.airtable_client.table("app", "Regions")

    def process_many(self, rows: Sequence[Row]) -> list[str]:
        return ["changed" for _ in rows]


class OfNumbers(BatchDataMigration[int]):
    def items(self, cursor: int | None) -> Iterable[int]:
        yield from range((cursor or 0) + 1, 10)

    def process(self, number: int) -> None:
        self.log.info("%d", number)


@pytest.mark.parametrize(
    "migration", [OfTargets, OfPairs, Asynchronous, AsynchronousItems, OfRows, OfNumbers]
)
def test_a_typed_class_is_taken(migration: type[BatchMigration[object]]) -> None:
    assert isinstance(migration(), BatchMigration)
