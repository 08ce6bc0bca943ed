from mpt_tool.migration import DataBaseMigration

PRICES = {"MON-001": "45", "BKP-001": "19.50"}


class Migration(DataBaseMigration):
    def run(self) -> None:
        for sku, price in PRICES.items():
            cents = 100 * int(price)
            (self.project_root / "catalogue" / sku).write_text(f"{cents}\n")
