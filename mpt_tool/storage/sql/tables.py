"""The tables of the state, made where they are not there, and brought up to date where they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.schema import CreateSchema

from mpt_tool.errors import StorageError

_MOMENT = DateTime(timezone=True)
# As text: what JSON allows that PostgreSQL's own form of it does not is kept, too.
_JSON = JSON(none_as_null=True)
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
# Of two that create tables at the same time, one waits for the other.
_CREATING = 0x6D70745F
# A statement, for tables that have the names of these, that makes a version of the one before.
type Upgrade = Callable[["Tables"], Sequence[str]]
# Of the tables as they are here: each change of them adds a step, with what `--init` calls it.
UPGRADES: Sequence[tuple[str, Upgrade]] = ()
VERSION = 1 + len(UPGRADES)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one state.

    `records` has a row a migration. `attempts` and `failed_items` are the history, a row an entry;
    its `document` is the entry whole, and `key` tells one that is sent again from another. `lock`
    has one row: the version of the tables, and who holds the lock, by a token that is another one
    each time, and on PostgreSQL by its session.
    """

    metadata: MetaData
    records: Table
    attempts: Table
    failed_items: Table
    lock: Table

    @classmethod
    def named(cls, schema: str, prefix: str) -> "Tables":
        """Return the tables in a schema, by default that of the database, with these names."""
        metadata = MetaData(schema=schema or None)
        return cls(
            metadata,
            Table(
                f"{prefix}records",
                metadata,
                Column("migration_id", Text, primary_key=True),
                Column("order_id", BigInteger, nullable=False),
                Column("type", Text, nullable=False),
                Column("started_at", _MOMENT),
                Column("applied_at", _MOMENT),
                Column("version", Text),
                Column("checkpoint", _JSON),
                Column("targets", _JSON),
                Column("further", _JSON),
            ),
            Table(
                f"{prefix}attempts",
                metadata,
                *_of_history(),
                Column("outcome", Text, nullable=False, index=True),
                Column("started_at", _MOMENT),
                Column("ended_at", _MOMENT),
            ),
            Table(f"{prefix}failed_items", metadata, *_of_history(), Column("since", _MOMENT)),
            Table(
                f"{prefix}lock",
                metadata,
                Column("version", Integer, nullable=False),
                Column("token", Text),
                Column("holder", _JSON),
                Column("session", Integer),
                Column("since", _MOMENT),
                Column("is_asked_to_stop", Boolean, nullable=False),
            ),
        )

    def complete(
        self, connection: Connection, upgrades: Sequence[tuple[str, Upgrade]] = UPGRADES
    ) -> Sequence[str]:
        """Create what is missing, and bring what is there up to date, all of it or nothing.

        Args:
            connection: where each statement stands for itself.
            upgrades: what made each version of the tables of the one before.

        Returns:
            What was done, each by its name.
        """
        is_postgresql = connection.dialect.name == "postgresql"
        connection.exec_driver_sql("BEGIN" if is_postgresql else "BEGIN IMMEDIATE")
        try:
            if is_postgresql:
                connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
            done = [*self._create(connection, 1 + len(upgrades))]
            done += self._upgrade(connection, upgrades)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        return done

    def _create(self, connection: Connection, version: int) -> Iterator[str]:
        schema = self.metadata.schema
        found = inspect(connection)
        if schema and not found.has_schema(schema):
            connection.execute(CreateSchema(schema))
            yield f"schema {schema}"
        there = set(found.get_table_names(schema=schema))
        for table in self.metadata.sorted_tables:
            if table.name not in there:
                table.create(connection)
                yield f"table {table.name}"
        if connection.execute(select(self.lock.c.version)).first() is None:
            row = self.lock.insert().values(version=version, is_asked_to_stop=False)
            connection.execute(row)

    def _upgrade(
        self, connection: Connection, upgrades: Sequence[tuple[str, Upgrade]]
    ) -> Iterator[str]:
        version = connection.execute(select(self.lock.c.version)).scalar_one()
        for number, (name, statements) in enumerate(upgrades, start=2):
            if number > version:
                for statement in statements(self):
                    connection.exec_driver_sql(statement)
                connection.execute(update(self.lock).values(version=number))
                yield name


def require_version(version: int) -> None:
    """Return if tables of this version are those that are known here.

    Raises:
        StorageError: an upgrade is missing: of the tables, or of the tool.
    """
    if version < VERSION:
        raise StorageError(
            "The tables of the state are of an older release: mpt-tool migrate --init"
        )
    if version > VERSION:
        raise StorageError(
            f"The tables of the state are of a newer release (version {version}, this one knows"
            f" {VERSION}): upgrade mpt-tool"
        )


def _of_history() -> Sequence[Column[object]]:
    return (
        Column("id", _NUMBER, primary_key=True, autoincrement=True),
        Column("key", Text, nullable=False, unique=True),
        Column("run_id", Text, nullable=False),
        Column("migration_id", Text, nullable=False, index=True),
        Column("target", Text),
        Column("document", _JSON, nullable=False),
    )
