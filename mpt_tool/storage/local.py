"""Keeps the state in a JSON file in the project's root."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import isinf
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from pydantic import ValidationError

from mpt_tool.errors import StorageError
from mpt_tool.records import MigrationRecord, describe

STATE_FILE = ".migrations-state.json"


class LocalRepository:
    """Keeps records in `.migrations-state.json`, one object by migration id.

    The file is replaced as a whole: at every instant it holds either the old state or the new.
    """

    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, root: Path) -> None:
        # Resolved, so that a link to a file elsewhere stays a link when the file is replaced.
        self._path = Path(os.path.realpath(root / STATE_FILE))
        # Kept as text: a save formats its own record, not all the others again.
        self._members: dict[str, str] | None = None

    def load(self) -> dict[str, MigrationRecord]:
        """Return all records by migration id; without a file there are none.

        Raises:
            StorageError: the file cannot be read as state; the message names the key or position.
        """
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            text = b"{}"
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from error
        documents = self._parse(text)
        records = {key: self._record(key, document) for key, document in documents.items()}
        try:
            self._members = {key: _member(key, document) for key, document in documents.items()}
        except RecursionError as error:
            raise StorageError(f"{self._path} cannot be read as state: it is too deep") from error
        return records

    def save(self, record: MigrationRecord) -> None:
        """Put the record into the file; all others stay in it as they were.

        Raises:
            StorageError: the file cannot be written; it is as it was.
        """
        if self._members is None:
            self.load()
        key = record.migration_id
        members = {**(self._members or {}), key: _member(key, record.document())}
        self._write(members)
        self._members = members

    def initialize(self) -> Sequence[str]:
        """Create an empty state file.

        Raises:
            StorageError: there is one, or it cannot be written.
        """
        if self._path.exists():
            raise StorageError(f"Cannot initialize - State file already exists at {self._path}")
        self._write({})
        return [STATE_FILE]

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            documents = json.loads(
                text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
            )
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{self._path} cannot be read as state: {error}") from error
        if not isinstance(documents, dict):
            raise StorageError(
                f"{self._path} cannot be read as state: it holds no object of records by id"
            )
        return documents

    def _record(self, key: str, document: object) -> MigrationRecord:
        try:
            record = MigrationRecord.model_validate(document)
        except ValidationError as error:
            raise StorageError(
                f"{self._path} cannot be read as state: {key}: {describe(error)}"
            ) from error
        if record.migration_id != key:
            raise StorageError(
                f"{self._path} cannot be read as state: {key}: its migration_id is"
                f" {record.migration_id}"
            )
        return record

    def _write(self, members: Mapping[str, str]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.urandom(4).hex()}.tmp")
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(_object(members.values()))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(self._path, temporary)
            temporary.replace(self._path)
            _flush_folder(self._path.parent)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error
            raise


def _member(key: str, document: object) -> str:
    """Return a record as it stands in the file."""
    # A line break in a value is escaped: those that are there are of the layout.
    return f"{json.dumps(key)}: {json.dumps(document, indent=2)}".replace("\n", "\n  ")


def _object(members: Iterable[str]) -> str:
    """Return the text of the whole file, the same as `json.dumps` would with an indent of 2."""
    lines = ",\n  ".join(members)
    return f"{{\n  {lines}\n}}" if lines else "{}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members; a name that stands twice would lose one of them."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the key {twice} stands in it twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    """Return a number, unless it would be written as the infinity that JSON lacks."""
    value = float(number)
    if isinf(value):
        raise ValueError(f"the number {number} is out of range")
    return value


def _flush_folder(folder: Path) -> None:
    """Make a move within the folder outlast a power cut, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
