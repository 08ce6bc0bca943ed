"""How settings are read, from the environment, `.env` and `pyproject.toml`; and the tool's own."""

import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from mpt_tool.enums import LogFormatEnum, OccasionEnum
from mpt_tool.errors import MptToolError, SettingsError
from mpt_tool.wording import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENV_FILE = ".env"
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "tool.mpt-tool"
# Of the packages that bring a store; the name of each is that of a table of settings, too.
STORES = "mpt_tool.storage"
# What the newer names of variables begin with.
_NEWER = ("MPT_TOOL_", "MPT_TOOL_STORAGE_")
# The secrets of our own parts, and their variables: refused also where the part is not used.
_OUR_TABLES: Mapping[str, Mapping[str, str]] = {
    "airtable": {"api_key": "AIRTABLE_API_KEY"},
    "mpt": {"api_token": "MPT_API_TOKEN"},
    "sql": {"database_url": "STORAGE_DATABASE_URL"},
}
# What the address of a scheduler follows on.
DASK = "dask:"
# By Pydantic's name of what is wrong; its own words tell what a value is not.
_REASONS: Mapping[str, str] = {
    "bool_parsing": "use true or false",
    "bool_type": "use true or false",
    "finite_number": "use a number",
    "float_parsing": "use a number",
    "float_type": "use a number",
    "greater_than": "use a number above {gt:g}",
    "greater_than_equal": "use a number from {ge:g} on",
    "int_from_float": "use a whole number",
    "int_parsing": "use a whole number",
    "int_type": "use a whole number",
    "less_than": "use a number below {lt:,g}",
    "less_than_equal": "use a number up to {le:,.0f}",
    "path_type": "use a path, in quotes",
    "string_type": "use text, in quotes",
}
# In seconds; no thread can wait for longer.
_Limit = Annotated[float, Field(ge=0, le=1e9)]


class Section(BaseSettings):
    """The settings of one part: of the tool, or of a store that a package brings.

    Each field is set by the `variable` that it is annotated with, and unless it is a secret, a
    `SecretStr`, by a key of its own name in a table of `pyproject.toml`. A field without a default
    has to be set.

    `table` names that table within `[tool.mpt-tool]`; empty, it is that one. If `shares_table`, the
    table may hold settings of others, too.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        str_strip_whitespace=True,
    )

    table: ClassVar[str] = ""
    shares_table: ClassVar[bool] = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first of which wins; `pyproject.toml` is the last one."""
        for source in (env_settings, dotenv_settings):
            assert isinstance(source, EnvSettingsSource)
            # Or what is blank here would hide what another name, or the next source, sets.
            source.env_vars = {
                name: value for name, value in source.env_vars.items() if is_given(value)
            }
        return env_settings, dotenv_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take what is blank for not set."""
        return {name: value for name, value in values.items() if is_given(value)}


def variable(name: str, newer: str | None = "", **constraints: Any) -> Any:
    """Return what makes a field of a `Section` a setting that a variable of the environment sets.

    Args:
        name: the documented name of the variable.
        newer: its newer name, which wins; by default with `MPT_TOOL_` before it, None for none.
        constraints: what Pydantic's `Field` is to check.
    """
    names = [name] if newer is None else [newer or f"MPT_TOOL_{name}", name]
    return Field(validation_alias=AliasChoices(*names), **constraints)


def _path(path: Path) -> Path:
    if "\0" in str(path):
        raise PydanticCustomError("path", "no path holds a NUL character")
    return path


def _http_address(text: str) -> str:
    try:
        return str(HttpUrl(text)).rstrip("/")
    except ValidationError:
        reason = "use an address like https://api.example.com"
        raise PydanticCustomError("address", reason) from None


def _function(text: str) -> str:
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise PydanticCustomError("function", "use a function like package.module:function")
    return text


def _batch_executor(text: str) -> str:
    if not text:
        return text
    if not (text.startswith(DASK) and all(text.removeprefix(DASK).partition("://"))):
        reason = "use a Dask scheduler like dask:tcp://scheduler:8786"
        raise PydanticCustomError("executor", reason)
    from importlib.util import find_spec

    if find_spec("distributed") is None:
        raise PydanticCustomError("extra", "it needs an extra: pip install 'mpt-tool[dask]'")
    return text


def _occasions(value: object) -> frozenset[OccasionEnum]:
    names = value.replace(",", " ").split() if isinstance(value, str) else value
    known = [str(each) for each in OccasionEnum]
    if not (isinstance(names, list | frozenset) and all(each in known for each in names)):
        raise PydanticCustomError("occasions", "use some of {known}", {"known": ", ".join(known)})
    return frozenset(map(OccasionEnum, names))


def _log_format(value: object) -> object:
    # An extension may have a variable of this name for logs of its own.
    return value if value in list(LogFormatEnum) else LogFormatEnum.TEXT


_Function = Annotated[str, AfterValidator(_function)]
HttpAddress = Annotated[str, AfterValidator(_http_address)]


class Settings(Section):
    """The tool's own settings."""

    folder: Annotated[Path, AfterValidator(_path), variable("MPT_TOOL_FOLDER", None)] = Path(
        "migrations"
    )
    storage_type: Annotated[str, variable("STORAGE_TYPE")] = "local"
    storage_ephemeral: Annotated[bool, variable("STORAGE_EPHEMERAL")] = False
    schema_time_limit: Annotated[_Limit, variable("SCHEMA_TIME_LIMIT")] = 15 * 60
    data_time_limit: Annotated[_Limit, variable("DATA_TIME_LIMIT")] = 0
    service_version: Annotated[str | None, variable("SERVICE_VERSION", None)] = None
    telemetry: Annotated[_Function | None, variable("MPT_TOOL_TELEMETRY", None)] = None
    slow_item_seconds: Annotated[_Limit, variable("SLOW_ITEM_SECONDS")] = 5
    notify_urls: Annotated[SecretStr | None, variable("NOTIFY_URLS")] = None
    notify_on: Annotated[
        frozenset[OccasionEnum], NoDecode, BeforeValidator(_occasions), variable("NOTIFY_ON")
    ] = frozenset({OccasionEnum.FAILED, OccasionEnum.STALLED})
    notify_stalled_seconds: Annotated[float, Field(gt=0), variable("NOTIFY_STALLED_SECONDS")] = 900
    notify_ping_url: Annotated[SecretStr | None, variable("NOTIFY_PING_URL")] = None
    batch_executor: Annotated[str, AfterValidator(_batch_executor), variable("BATCH_EXECUTOR")] = ""
    log_format: Annotated[LogFormatEnum, BeforeValidator(_log_format), variable("LOG_FORMAT")] = (
        LogFormatEnum.TEXT
    )


def load_settings[S: Section](model: type[S], root: Path) -> S:
    """Return the settings of one part in the project in `root`.

    The environment wins over `.env`, which wins over `pyproject.toml`; in each of the first two the
    newer name of a variable wins. What is blank counts as not set. `SettingsError` if a value, the
    `.env` file or `pyproject.toml` is wrong, or something is not set that has to be; the message
    names all of it.
    """
    # The library passes over a line that it cannot read, and takes what is not set for empty.
    _require_referred(model, _env_file_lines(root))
    table = read_table(model, root)
    try:
        return model(_env_file=root / ENV_FILE, **table)
    except ValidationError as error:
        given = {name for name, value in {**read_env_file(root), **os.environ}.items() if value}
        in_table = [
            field
            for field in model.model_fields
            for names in [variable_names(model, field)]
            if names[0] in table and given.isdisjoint(names)
        ]
        raise SettingsError(_explanation(model, error, in_table)) from None


def wrong_values(model: type[Section], root: Path) -> dict[str, str]:
    """Return what is wrong with those settings of a part that are set, by setting.

    Raises:
        SettingsError: `.env` or `pyproject.toml` is wrong.
    """
    # The library passes over a line that it cannot read.
    parse_env_file(root)
    try:
        model(_env_file=root / ENV_FILE, **read_table(model, root))
    except ValidationError as error:
        return {field: reason for field, _, reason in _problems(model, error) if reason}
    return {}


def is_given(value: object) -> bool:
    """Whether a value is there, and more than blanks."""
    return value is not None and bool(str(value).strip())


def read_env_file(root: Path) -> dict[str, str]:
    """Return all variables of the project's `.env` that are set; none if it cannot be read."""
    try:
        return parse_env_file(root)
    except SettingsError:
        return {}


@contextmanager
def env_file_exported(root: Path) -> Iterator[None]:
    """Let scripts find in the environment meanwhile what the project's `.env` sets, if it lacks it.

    But not the newer name of a setting that the environment has by its older one: it would win.
    """
    lacking = {
        name: value
        for name, value in read_env_file(root).items()
        if not {name, *(name.removeprefix(newer) for newer in _NEWER)} & os.environ.keys()
        # No environment could hold it.
        and not ("=" in name or "\0" in name + value)
    }
    os.environ.update(lacking)
    try:
        yield
    finally:
        for name in lacking:
            os.environ.pop(name, None)


def working_folder() -> Path:
    """Return the folder that the process works in.

    Raises:
        MptToolError: it has been deleted, or this user may not look into one above it.
    """
    try:
        found = Path.cwd()
        found.stat()
    except FileNotFoundError as error:
        raise MptToolError("The working folder is gone: change to the project's root") from error
    except PermissionError as error:
        raise MptToolError(
            "The working folder is in one that this user may not look into: give it the right to,"
            " or change to a folder that it may"
        ) from error
    return found


def variables(model: type[Section], field: str) -> str:
    """Return the names of a setting's variables for a message, the documented one first."""
    *newer, documented = variable_names(model, field)
    return f"{documented} (or {newer[0]})" if newer else documented


def variable_names(model: type[Section], field: str) -> Sequence[str]:
    """Return the names of a setting's variables, the one that wins first."""
    alias = model.model_fields[field].validation_alias
    assert isinstance(alias, AliasChoices)
    return [str(name) for name in alias.choices]


def is_secret(model: type[Section], field: str) -> bool:
    """Whether a setting may never stand in `pyproject.toml`."""
    annotation = model.model_fields[field].annotation
    return SecretStr in (annotation, *get_args(annotation))


def _explanation(model: type[Section], error: ValidationError, in_table: Collection[str]) -> str:
    """Return in one line all that is wrong, each setting named as it is set.

    Args:
        model: the part of the settings.
        error: what is wrong with it.
        in_table: the settings that `pyproject.toml` sets.
    """
    missing, wrong = [], []
    for field, value, reason in _problems(model, error):
        names = variables(model, field)
        if field in in_table:
            names = f"{field.replace('_', '-')} in [{_table_of(model)}]"
        if reason:
            wrong.append(f"{names} is {value!r}: {reason}")
        else:
            missing.append(names)
    if missing:
        names, (are, it) = " and ".join(missing), ("are", "them") if missing[1:] else ("is", "it")
        wrong.append(f"{names} {are} not set: add {it} to the environment or .env")
    return "; ".join(wrong)


def _problems(model: type[Section], error: ValidationError) -> Iterator[tuple[str, object, str]]:
    """Yield each setting that is wrong, its value, and why: nothing if it is not set."""
    for problem in error.errors():
        location = problem["loc"][0]
        field = next(
            field
            for field in model.model_fields
            if location in (field, *variable_names(model, field))
        )
        is_missing = problem["type"] == "missing"
        yield field, problem["input"], "" if is_missing else _reason(problem)


def _reason(problem: "ErrorDetails") -> str:
    """Return what to write in place of a value; what Pydantic says for want of anything better."""
    if told := _REASONS.get(problem["type"]):
        return told.format(**problem.get("ctx", {}))
    return problem["msg"][0].lower() + problem["msg"][1:]


def parse_env_file(root: Path) -> dict[str, str]:
    """Return all variables of the project's `.env` that are set; raises as `_env_file_lines`."""
    lines = _env_file_lines(root)
    if not lines:
        return {}
    from dotenv.main import resolve_variables

    resolved = resolve_variables([(line.name, line.value) for line in lines], override=True)
    return {name: value for name, value in resolved.items() if value}


@dataclass(frozen=True, slots=True)
class _Line:
    """A variable of `.env` as it is written: on which line, its name, and its value."""

    number: int
    name: str
    value: str


def _env_file_lines(root: Path) -> Sequence[_Line]:
    """Return the variables of the project's `.env` as they are written.

    Raises `SettingsError` if a line cannot be parsed: that may be the one that names the store.
    """
    path = root / ENV_FILE
    if path.is_dir() or not path.exists():
        # A virtual environment may have that name.
        return ()
    from dotenv.parser import parse_stream

    try:
        parsed = list(parse_stream(StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error}") from error
    lines = []
    for each in parsed:
        # A name with what nobody sees in it would pass for one that is not set.
        is_seen = each.key is None or each.key.isprintable()
        if each.error or (each.key and each.value is None) or not is_seen:
            where = f"line {each.original.line}"
            raise SettingsError(f"{ENV_FILE} cannot be read: {where} is not NAME=VALUE")
        if each.key and each.value is not None:
            lines.append(_Line(each.original.line, each.key, each.value))
    return lines


def _require_referred(model: type[Section], lines: Sequence[_Line]) -> None:
    """Refuse a setting of `.env` that refers to a variable that is not set and has no default.

    The setting would be empty, and so pass for one that is not set: the store for the local one.

    Raises:
        SettingsError: one does, and the environment does not have it.
    """
    if not lines:
        return
    from dotenv.variables import Variable, parse_variables

    ours = {
        name
        for field in model.model_fields
        if not any(os.environ.get(name) for name in variable_names(model, field))
        for name in variable_names(model, field)
    }
    known = set(os.environ)
    for line in lines:
        for part in parse_variables(line.value):
            if isinstance(part, Variable) and part.default is None and part.name not in known:
                known.discard(line.name)
                if line.name in ours:
                    raise SettingsError(
                        f"{ENV_FILE} cannot be used: in line {line.number} {line.name} refers to"
                        f" {part.name}, which is not set: set it, or give it a default, as in"
                        f" ${{{part.name}:-VALUE}}"
                    )
                break
        else:
            known.add(line.name)


def read_table(model: type[Section], root: Path) -> dict[str, Any]:
    """Return what the part's table in `pyproject.toml` sets, by the first variable of each field.

    Raises `SettingsError` if it cannot be read, or holds a secret or an unknown key.
    """
    path = root / PROJECT_FILE
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}") from error
    name = _table_of(model)
    for part in name.split("."):
        found = found.get(part, {})
        if not isinstance(found, dict):
            raise SettingsError(f"{path.name}: [{name}] is not a table")
    fields = model.model_fields
    _refuse(found, name, {key: variables(model, key) for key in fields if is_secret(model, key)})
    values = {key.replace("-", "_"): value for key, value in found.items()}
    allowed = {field for field in fields if not is_secret(model, field)}
    if not model.table:
        for part, secrets in _OUR_TABLES.items():
            _refuse(values.get(part), f"{name}.{part}", secrets)
        allowed |= _OUR_TABLES.keys()
        if values.keys() - allowed:
            from importlib.metadata import entry_points

            allowed |= {store.replace("-", "_") for store in entry_points(group=STORES).names}
    unknown = sorted(values.keys() - allowed)
    if unknown and not model.shares_table:
        known = sorted(key.replace("_", "-") for key in allowed)
        hint = did_you_mean(unknown[0].replace("_", "-"), known)
        raise SettingsError(
            f"{path.name}: {unknown[0]} in [{name}] is unknown: use one of {', '.join(known)}{hint}"
        )
    return {
        variable_names(model, field)[0]: values[field] for field in values.keys() & fields.keys()
    }


def _table_of(model: type[Section]) -> str:
    return f"{PROJECT_TABLE}.{model.table}" if model.table else PROJECT_TABLE


def _refuse(table: object, name: str, secrets: Mapping[str, str]) -> None:
    """Raise `SettingsError` if a table of `pyproject.toml` holds one of these secrets, by key."""
    for key in sorted(table if isinstance(table, dict) else ()):
        if set_by := secrets.get(key.replace("-", "_")):
            raise SettingsError(
                f"{PROJECT_FILE}: {key} is a secret: remove it from [{name}]"
                f" and set {set_by} in the environment"
            )
