from mpt_api_client import RQLQuery

from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    targets = "MPT_PRODUCTS_IDS"
    workers = 8
    on_error = "collect"

    def prepare(self):
        parameters = self.mpt_client.catalog.products.parameters(self.target)
        if not list(parameters.filter(RQLQuery(externalId="channel")).iterate()):
            parameters.create({"externalId": "channel", "name": "Channel", "scope": "Subscription"})

    def items(self, cursor):
        active = RQLQuery(product__id=self.target) & RQLQuery(status="Active")
        agreements = self.mpt_client.commerce.agreements.filter(active)
        return self.each_of(agreements, self.subscriptions_of, after=cursor)

    def subscriptions_of(self, agreement):
        return self.mpt_client.commerce.subscriptions.filter(RQLQuery(agreement__id=agreement.id))

    def process(self, pair):
        agreement, subscription = pair
        channel = "direct" if agreement.seller.id == "SEL-1" else "indirect"
        if channel_of(subscription) == channel:
            return "right already"
        parameters = [{"externalId": "channel", "value": channel}]
        self.mpt_client.commerce.subscriptions.update(
            subscription.id, {"parameters": {"fulfillment": parameters}}
        )
        return "changed"

    def find(self, cursor):
        agreement_id, subscription_id = cursor
        commerce = self.mpt_client.commerce
        return commerce.agreements.get(agreement_id), commerce.subscriptions.get(subscription_id)


def channel_of(subscription):
    values = {each.external_id: each.value for each in subscription.parameters.fulfillment}
    return values.get("channel")
