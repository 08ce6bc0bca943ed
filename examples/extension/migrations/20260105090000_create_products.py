from catalogue import transaction

from mpt_tool.migration import SchemaBaseMigration


class Migration(SchemaBaseMigration):
    def run(self) -> None:
        with transaction() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS products"
                " (sku TEXT PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER)"
            )
