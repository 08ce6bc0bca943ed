"""By what a script could write that no rehearsal guards: the libraries that its module imports."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from mpt_tool.migration import BatchMigration
from mpt_tool.migration.mixins.shared import ClientMixin

_LIBRARIES = frozenset(
    {
        *("aiohttp", "grpc", "httpx", "requests", "urllib3", "websockets", "zeep"),
        *("asyncpg", "django", "peewee", "psycopg", "psycopg2", "pymysql", "pyodbc", "sqlalchemy"),
        *("cassandra", "elasticsearch", "motor", "pymongo", "redis", "sqlite3"),
        *("azure", "boto3", "botocore", "celery", "google", "kafka", "pika"),
        *("aiosmtplib", "ftplib", "ldap3", "multiprocessing", "paramiko", "smtplib", "subprocess"),
    }
)
# Of these libraries just a part can write.
_MODULES = frozenset(
    {
        *("concurrent.futures.process", "http.client", "urllib.request"),
        *("pyairtable.orm", "pyairtable.orm.model"),
    }
)
# A client that the script makes itself is guarded by nobody.
_CLASSES = frozenset(
    {"mpt_api_client.AsyncMPTClient", "mpt_api_client.MPTClient", "pyairtable.Api"}
)


def unguarded(migration: BatchMigration[Any]) -> list[str]:
    """Return by what the module of a migration could write past the mixins' clients."""
    values = _globals_of(migration).values()
    return sorted({name for value in values for name in _names_of(value)})


def has_guarded_client(migration: BatchMigration[Any]) -> bool:
    """Whether the migration, or another class of its module, has a client of the mixins."""
    classes = [type(migration), *_globals_of(migration).values()]
    return any(isinstance(each, type) and issubclass(each, ClientMixin) for each in classes)


def _globals_of(migration: BatchMigration[Any]) -> dict[str, Any]:
    return vars(sys.modules[type(migration).__module__])


def _names_of(value: object) -> Iterator[str]:
    """Yield what a global of the module has to do with, as far as that could write."""
    if isinstance(value, ModuleType):
        yield from _name_in(value.__name__)
        return
    # A model of Django is a class of the project's own.
    for each in value.__mro__ if isinstance(value, type) else [value]:
        module, name = (getattr(each, of, None) for of in ("__module__", "__name__"))
        if isinstance(module, str):
            yield from _name_in(module, name)


def _name_in(module: str, name: str | None = None) -> Iterator[str]:
    package = module.partition(".")[0]
    if package in _LIBRARIES:
        yield package
    elif module in _MODULES:
        yield module
    elif f"{package}.{name}" in _CLASSES:
        yield f"{package}.{name}"
