import os

import requests
from mpt_api_client import RQLQuery

from mpt_tool.migration import DataBaseMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin

DRY_RUN = False


class Migration(DataBaseMigration, MPTAPIClientMixin):
    def run(self):
        accounts_url = os.environ["ACCOUNTS_URL"]
        created, errors = [], []
        for agreement in self.mpt_client.commerce.agreements.filter(
            RQLQuery(status="Active")
        ).iterate():
            if agreement.external_ids.vendor:
                continue
            if DRY_RUN:
                self.log.info("Would create an account for %s", agreement.id)
                continue
            try:
                response = requests.post(accounts_url, json={"name": agreement.id})
                account = response.json()
                self.mpt_client.commerce.agreements.update(
                    agreement.id, {"externalIds": {"vendor": account["id"]}}
                )
                created.append(agreement.id)
            except Exception as error:
                errors.append((agreement.id, error))
        self.log.info("%d accounts created", len(created))
        for agreement_id, error in errors:
            self.log.error("%s: %s", agreement_id, error)
