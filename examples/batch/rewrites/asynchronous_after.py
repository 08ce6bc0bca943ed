from mpt_api_client import RQLQuery

from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    workers = 16
    on_error = "collect"

    def source(self):
        return self.async_mpt_client.commerce.subscriptions.filter(RQLQuery(status="Active"))

    async def process(self, subscription):
        name = subscription.name.removesuffix(" (trial)")
        if name == subscription.name:
            return "right already"
        await self.async_mpt_client.commerce.subscriptions.update(subscription.id, {"name": name})
        return "changed"
