import asyncio
import os

from mpt_api_client import AsyncMPTClient, RQLQuery
from mpt_api_client.auth import BearerTokenAuthentication

from mpt_tool.migration import DataBaseMigration


class Migration(DataBaseMigration):
    def run(self):
        asyncio.run(self.migrate())

    async def migrate(self):
        client = AsyncMPTClient.from_config(
            authentication=BearerTokenAuthentication(os.environ["MPT_API_TOKEN"]),
            base_url=os.environ["MPT_API_BASE_URL"],
        )
        semaphore = asyncio.Semaphore(16)
        query = RQLQuery(status="Active")
        subscriptions = [
            each async for each in client.commerce.subscriptions.filter(query).iterate()
        ]

        async def update(subscription):
            async with semaphore:
                name = subscription.name.removesuffix(" (trial)")
                if name != subscription.name:
                    await client.commerce.subscriptions.update(subscription.id, {"name": name})

        results = await asyncio.gather(*map(update, subscriptions), return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        self.log.info("%d subscriptions, %d errors", len(results), len(errors))
