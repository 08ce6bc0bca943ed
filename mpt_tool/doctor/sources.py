"""Where the value of each setting stands: the environment, `.env` or `pyproject.toml`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpt_tool.errors import SettingsError
from mpt_tool.settings import (
    ENV_FILE,
    PROJECT_FILE,
    Section,
    is_given,
    read_env_file,
    read_table,
    variable_names,
)

ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Found:
    """A value for a setting, whatever it is worth.

    Args:
        source: `environment`, `.env` or `pyproject.toml`.
        name: that of the variable, or the key.
        value: as it stands there.
    """

    source: str
    name: str
    value: Any


def find_values(model: type[Section], root: Path) -> Mapping[str, Sequence[Found]]:
    """Return, by setting of a part, all that is set for it, that which wins first.

    Of a file that cannot be read, or that is refused, nothing is known.
    """
    try:
        table = read_table(model, root)
    except SettingsError:
        table = {}
    sources = ((ENVIRONMENT, os.environ), (ENV_FILE, read_env_file(root)))
    found: dict[str, list[Found]] = {}
    for field in model.model_fields:
        names = variable_names(model, field)
        found[field] = [
            Found(source, name, variables[name])
            for source, variables in sources
            for name in names
            if is_given(variables.get(name))
        ]
        if is_given(value := table.get(names[0])):
            key = ".".join(filter(None, (model.table, field.replace("_", "-"))))
            found[field].append(Found(PROJECT_FILE, key, value))
    return found
