from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    workers = 4

    def source(self):
        return self.mpt_client.commerce.agreements

    def process(self, agreement):
        # This sets what is to be there, so an agreement may come twice.
        vendor_id = agreement.id.replace("AGR", "VND")
        self.mpt_client.commerce.agreements.update(
            agreement.id, {"externalIds": {"vendor": vendor_id}}
        )
