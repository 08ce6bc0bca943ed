import os

from mpt_api_client import RQLQuery

from mpt_tool.migration import DataBaseMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(DataBaseMigration, MPTAPIClientMixin):
    def run(self):
        for product_id in os.environ["MPT_PRODUCTS_IDS"].split(","):
            self.create_parameter(product_id)
            self.migrate_product(product_id)

    def create_parameter(self, product_id):
        parameters = self.mpt_client.catalog.products.parameters(product_id)
        if any(each.external_id == "channel" for each in parameters.iterate()):
            self.log.info("%s has the parameter", product_id)
            return
        parameters.create({"externalId": "channel", "name": "Channel", "scope": "Subscription"})

    def migrate_product(self, product_id):
        updated, skipped, errors = 0, 0, 0
        query = RQLQuery(product__id=product_id) & RQLQuery(status="Active")
        agreements = list(self.mpt_client.commerce.agreements.filter(query).iterate())
        for number, agreement in enumerate(agreements, start=1):
            self.log.info("%d of %d: %s", number, len(agreements), agreement.id)
            subscriptions = self.mpt_client.commerce.subscriptions
            for subscription in subscriptions.filter(
                RQLQuery(agreement__id=agreement.id)
            ).iterate():
                try:
                    channel = "direct" if agreement.seller.id == "SEL-1" else "indirect"
                    found = [
                        each.value
                        for each in subscription.parameters.fulfillment
                        if each.external_id == "channel"
                    ]
                    if found == [channel]:
                        skipped += 1
                        continue
                    parameters = [{"externalId": "channel", "value": channel}]
                    subscriptions.update(
                        subscription.id, {"parameters": {"fulfillment": parameters}}
                    )
                    updated += 1
                except Exception as error:
                    self.log.error("Subscription %s: %s", subscription.id, error)
                    errors += 1
        self.log.info("%s: %d updated, %d skipped, %d errors", product_id, updated, skipped, errors)
