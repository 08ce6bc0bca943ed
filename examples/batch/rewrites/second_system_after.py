import os

import requests
from mpt_api_client import RQLQuery

from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    on_error = "collect"
    # The service of the accounts allows no more.
    max_per_second = 20

    def source(self):
        return self.mpt_client.commerce.agreements.filter(RQLQuery(status="Active"))

    def process(self, agreement):
        if agreement.external_ids.vendor:
            return "has an account"
        account_id = self.once(
            "account",
            lambda: create_account(agreement.id, is_rehearsal=self.is_rehearsal),
            find=lambda: find_account(agreement.id),
        )
        self.mpt_client.commerce.agreements.update(
            agreement.id, {"externalIds": {"vendor": account_id}}
        )
        return "account created"

    def verify(self):
        for agreement in self.each(self.source()):
            if find_account(agreement.id) != agreement.external_ids.vendor:
                raise ValueError(f"the account of {agreement.id} is another one")


def create_account(name, *, is_rehearsal):
    if is_rehearsal:
        return "rehearsed"
    return accounts("POST", json={"name": name})["id"]


def find_account(name):
    return next((each["id"] for each in accounts("GET", params={"name": name})), None)


def accounts(method, **request):
    response = requests.request(method, os.environ["ACCOUNTS_URL"], timeout=30, **request)
    response.raise_for_status()
    return response.json()
