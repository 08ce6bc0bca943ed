"""Settings from the environment, `.env` and `pyproject.toml`, validated once."""

import logging
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, Field, HttpUrl, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mpt_tool.errors import MptToolError, SettingsError

AIRTABLE_URL = "https://api.airtable.com"
# What a thread can wait for.
_LONGEST_LIMIT = 1e9
ENV_FILE = ".env"
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "[tool.mpt-tool]"
SECRETS = frozenset({"airtable_api_key", "mpt_api_token"})

# It logs each line of `.env` that it cannot parse; without a handler that would go to the terminal
# even at a TAB.
logging.getLogger("dotenv").addHandler(logging.NullHandler())


def _variable(name: str) -> AliasChoices:
    """Return the names of an environment variable, the newer one first, which wins."""
    return AliasChoices(f"MPT_TOOL_{name}", name)


def _path(path: Path) -> Path:
    if "\0" in str(path):
        raise PydanticCustomError("path", "no path holds a NUL character")
    return path


class Settings(BaseSettings):
    """What can be configured.

    The environment wins over `.env`, which wins over `pyproject.toml` (the keyword arguments); in
    each of the first two the newer name of a variable wins. An empty variable counts as not set.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",
        str_strip_whitespace=True,
    )

    folder: Annotated[Path, AfterValidator(_path), Field(validation_alias="MPT_TOOL_FOLDER")] = (
        Path("migrations")
    )
    storage_type: Annotated[str, Field(validation_alias=_variable("STORAGE_TYPE"))] = "local"
    airtable_api_key: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("MPT_TOOL_STORAGE_AIRTABLE_API_KEY", "AIRTABLE_API_KEY")
        ),
    ] = None
    storage_airtable_base_id: Annotated[
        str | None, Field(validation_alias=_variable("STORAGE_AIRTABLE_BASE_ID"))
    ] = None
    storage_airtable_table_name: Annotated[
        str, Field(validation_alias=_variable("STORAGE_AIRTABLE_TABLE_NAME"))
    ] = "Migrations"
    storage_airtable_history_table_name: Annotated[
        str, Field(validation_alias=_variable("STORAGE_AIRTABLE_HISTORY_TABLE_NAME"))
    ] = "Migrations History"
    storage_airtable_endpoint_url: Annotated[
        str, Field(validation_alias=_variable("STORAGE_AIRTABLE_ENDPOINT_URL"))
    ] = AIRTABLE_URL
    storage_airtable_retry_seconds: Annotated[
        float,
        Field(
            validation_alias=_variable("STORAGE_AIRTABLE_RETRY_SECONDS"), ge=0, allow_inf_nan=False
        ),
    ] = 180
    storage_airtable_lease_seconds: Annotated[
        float,
        Field(
            validation_alias=_variable("STORAGE_AIRTABLE_LEASE_SECONDS"), ge=5, allow_inf_nan=False
        ),
    ] = 90
    schema_time_limit: Annotated[
        float, Field(validation_alias=_variable("SCHEMA_TIME_LIMIT"), ge=0, le=_LONGEST_LIMIT)
    ] = 15 * 60
    data_time_limit: Annotated[
        float, Field(validation_alias=_variable("DATA_TIME_LIMIT"), ge=0, le=_LONGEST_LIMIT)
    ] = 0
    mpt_api_token: Annotated[SecretStr | None, Field(validation_alias="MPT_API_TOKEN")] = None
    mpt_api_base_url: Annotated[str | None, Field(validation_alias="MPT_API_BASE_URL")] = None
    service_version: Annotated[str | None, Field(validation_alias="SERVICE_VERSION")] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the first of which wins."""
        return env_settings, dotenv_settings, init_settings

    def require(self, field: str) -> str:
        """Return the text of a setting that an action needs.

        Raises:
            SettingsError: it is not set; the message names its variables.
        """
        self.require_all(field)
        value = getattr(self, field)
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    def require_all(self, *fields: str) -> None:
        """Return if all of these settings are there.

        Raises:
            SettingsError: some are not set; the message names all of them.
        """
        missing = [variables(field) for field in fields if not getattr(self, field)]
        if missing:
            are, what = ("are", "them") if len(missing) > 1 else ("is", "it")
            names = " and ".join(missing)
            raise SettingsError(f"{names} {are} not set: add {what} to the environment or .env")

    def require_url(self, field: str) -> str:
        """Return an HTTP address that an action needs.

        Raises:
            SettingsError: it is not set or no HTTP address; the message names its variables.
        """
        url = self.require(field)
        try:
            address = HttpUrl(url)
        except ValidationError:
            raise SettingsError(
                f"{variables(field)} is {url!r}: use an address like https://api.example.com"
            ) from None
        return str(address).rstrip("/")


def load_settings(root: Path) -> Settings:
    """Return the settings of the project in `root`.

    Raises:
        SettingsError: a value, the `.env` file or `pyproject.toml` is wrong.
    """
    table = _project_table(root / PROJECT_FILE)
    try:
        return Settings(_env_file=root / ENV_FILE, **table)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error}") from error


def working_folder() -> Path:
    """Return the folder that the process works in.

    Raises:
        MptToolError: it has been deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise MptToolError("The working folder is gone: change to the project's root") from error


def read_env_file(root: Path) -> dict[str, str]:
    """Return all variables of the project's `.env`; none if it cannot be read."""
    try:
        values = dotenv_values(root / ENV_FILE)
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, value in values.items() if value}


def variables(field: str) -> str:
    """Return the names of a setting's variables for a message, the documented one first."""
    match Settings.model_fields[field].validation_alias:
        case AliasChoices(choices=[newer, older]):
            return f"{older} (or {newer})"
        case alias:
            return str(alias)


def _explain(problem: Any) -> str:
    location = str(problem["loc"][0])
    field = next(name for name in Settings.model_fields if location in (name, *_aliases(name)))
    message = str(problem["msg"])
    return f"{variables(field)} is {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _aliases(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [str(name) for name in names]


def _project_table(path: Path) -> dict[str, Any]:
    """Return `[tool.mpt-tool]` by variables; it may hold any setting that is no secret."""
    import tomllib

    try:
        tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}") from error
    table = tool.get("mpt-tool", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{path.name}: {PROJECT_TABLE} is not a table")
    values = {key.replace("-", "_"): value for key, value in table.items() if value != ""}
    secrets = SECRETS & values.keys()
    if secrets:
        raise SettingsError(
            f"{path.name}: {min(secrets)} is a secret: remove it from {PROJECT_TABLE}"
            f" and set {variables(min(secrets))} in the environment"
        )
    allowed = sorted(Settings.model_fields.keys() - SECRETS)
    unknown = sorted(values.keys() - Settings.model_fields.keys())
    if unknown:
        names = ", ".join(name.replace("_", "-") for name in allowed)
        raise SettingsError(
            f"{path.name}: {unknown[0]} in {PROJECT_TABLE} is unknown: use one of {names}"
        )
    return {_aliases(name)[0]: value for name, value in values.items()}
