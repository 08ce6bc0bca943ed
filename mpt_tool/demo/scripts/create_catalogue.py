from mpt_tool.migration import SchemaBaseMigration


class Migration(SchemaBaseMigration):
    def run(self) -> None:
        (self.project_root / "catalogue").mkdir(exist_ok=True)
        self.log.info("There is a place for products now")
