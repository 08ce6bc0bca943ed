from catalogue import transaction

from mpt_tool.migration import DataBaseMigration

PRODUCTS = [
    ("BKP-001", "Backup, 1 TB"),
    ("BKP-005", "Backup, 5 TB"),
    ("MON-001", "Monitoring, 10 servers"),
]


class Migration(DataBaseMigration):
    def run(self) -> None:
        with transaction() as database:
            # Rows that are there stay as they are: a migration that failed is run again.
            database.executemany(
                "INSERT INTO products (sku, name) VALUES (?, ?) ON CONFLICT (sku) DO NOTHING",
                PRODUCTS,
            )
        self.log.info("Imported %d products", len(PRODUCTS))
