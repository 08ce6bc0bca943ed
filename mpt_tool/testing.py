"""For authors of storage backends: the tests that a backend has to pass, and a backend in memory.

Needs pytest, which the tool itself does without. A backend is tested by a class like this one:

    class TestMyRepository(StateRepositoryContract):
        @pytest.fixture
        def open_repository(self, tmp_path):
            return lambda: MyRepository(tmp_path)

`pytest.register_assert_rewrite("mpt_tool.testing")` in `conftest.py` makes pytest show the values
that a failing test compared.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import StorageError
from mpt_tool.records import MigrationRecord
from mpt_tool.storage import StateRepository

type OpenRepository = Callable[[], StateRepository]

MILLISECOND = timedelta(milliseconds=1)
# Whole milliseconds: a store may keep no more.
STARTED = datetime(2026, 1, 13, 18, 5, 20, 123_000, UTC)
APPLIED = datetime(2026, 1, 13, 18, 5, 23, 456_000, UTC)
NEW = MigrationRecord.new("sync_users", 20260113180013, MigrationTypeEnum.DATA)
OTHER = MigrationRecord.new("add_column", 20260214121033, MigrationTypeEnum.SCHEMA)
RUNNING = NEW.start(STARTED, "1.2.3")


class MemoryRepository:
    """Keeps records for as long as it lives."""

    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        self._records: dict[str, MigrationRecord] | None = None

    def load(self) -> dict[str, MigrationRecord]:
        """Return all records by migration id; without a store there are none."""
        return dict(self._records or {})

    def save(self, record: MigrationRecord) -> None:
        """Keep the record, creating the store if there is none."""
        self._records = {**self.load(), record.migration_id: record}

    def initialize(self) -> Sequence[str]:
        """Create the store."""
        if self._records is not None:
            raise StorageError("Cannot initialize - the store in memory exists")
        self._records = {}
        return ["store in memory"]


class StateRepositoryContract:
    """The promises of `StateRepository`, each a test; a subclass says how its store is opened."""

    @pytest.fixture
    def open_repository(self) -> OpenRepository:
        """Return a function that opens one and the same store, anew with each call.

        To be overridden. Each test needs a store of its own that was never initialized.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `open_repository`")

    @pytest.fixture
    def repository(self, open_repository: OpenRepository) -> StateRepository:
        """An open repository whose store was initialized just now."""
        repository = open_repository()
        repository.initialize()
        return repository

    def test_initialize_names_what_it_created(self, open_repository: OpenRepository) -> None:
        """On a store that lacks something, `initialize` returns the names of what it created."""
        created = open_repository().initialize()

        assert created
        assert all(created)

    def test_initialize_refuses_a_store_that_lacks_nothing(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """A second `initialize` raises `StorageError`, and the records stay."""
        repository.save(RUNNING)

        with pytest.raises(StorageError):
            open_repository().initialize()

        assert open_repository().load() == {RUNNING.migration_id: RUNNING}

    def test_a_new_store_holds_nothing(self, repository: StateRepository) -> None:
        """`load` returns no records, and there is nothing odd to note."""
        assert repository.load() == {}
        assert repository.notes == {}

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param(RUNNING, id="running"),
            pytest.param(RUNNING.finish(APPLIED), id="applied"),
            pytest.param(RUNNING.fail(), id="failed"),
            pytest.param(OTHER.fake(APPLIED, None), id="faked"),
            pytest.param(NEW.model_copy(update={"order_id": 0}), id="order id 0"),
            pytest.param(NEW.model_copy(update={"migration_id": "x" * 124}), id="longest id"),
            pytest.param(NEW.model_copy(update={"migration_id": "größe_数"}), id="id in Unicode"),
        ],
    )
    def test_a_saved_record_is_there_when_the_store_is_opened_again(
        self, repository: StateRepository, open_repository: OpenRepository, record: MigrationRecord
    ) -> None:
        """`load` returns every record as it was saved."""
        repository.save(record)

        assert open_repository().load() == {record.migration_id: record}

    def test_timestamps_are_kept_to_the_millisecond(self, repository: StateRepository) -> None:
        """What a store keeps of a timestamp is less than a millisecond off."""
        started = STARTED + 0.456 * MILLISECOND
        repository.save(NEW.start(started, None))

        kept = repository.load()[NEW.migration_id].started_at

        assert kept is not None
        assert abs(kept - started) < MILLISECOND

    def test_saving_again_replaces_the_record(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """Of a record that is saved again nothing earlier stays: `None` empties a timestamp."""
        for record in (RUNNING, RUNNING.finish(APPLIED), RUNNING.fail()):
            repository.save(record)

            assert open_repository().load() == {record.migration_id: record}

    def test_saving_needs_no_loading(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`save` replaces a record that this repository has never seen."""
        repository.save(RUNNING)

        open_repository().save(RUNNING.fail())

        assert repository.load() == {RUNNING.migration_id: RUNNING.fail()}

    def test_saving_leaves_other_records_alone(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`save` changes one record, not another one with the same order id either."""
        faked = OTHER.model_copy(update={"order_id": NEW.order_id}).fake(APPLIED, None)
        repository.save(faked)
        repository.save(RUNNING)

        repository.save(RUNNING.finish(APPLIED))

        assert open_repository().load() == {
            faked.migration_id: faked,
            RUNNING.migration_id: RUNNING.finish(APPLIED),
        }

    def test_loading_again_tells_what_others_saved(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`load` reads the store, each time anew."""
        repository.load()

        open_repository().save(RUNNING)

        assert repository.load() == {RUNNING.migration_id: RUNNING}

    def test_loaded_records_are_the_callers_own(self, repository: StateRepository) -> None:
        """Changing what `load` returned changes nothing in the repository."""
        repository.save(RUNNING)

        repository.load().clear()

        assert repository.load() == {RUNNING.migration_id: RUNNING}
