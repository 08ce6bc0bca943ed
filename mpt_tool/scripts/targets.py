"""What a migration is made for: the list in its class, or in an environment variable."""

from collections.abc import Mapping, Sequence

from mpt_tool.errors import SettingsError

type Declared = str | tuple[str, ...]


def targets_in(declared: Declared, environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the targets, each once; None if the variable that is to list them is not set.

    Args:
        declared: the targets themselves, or the name of the variable.
        environment: the variables.
    """
    names: Sequence[str] = declared
    if isinstance(declared, str):
        if declared not in environment:
            return None
        names = environment[declared].split(",")
    stripped = (name.strip() for name in names)
    return tuple(dict.fromkeys(name for name in stripped if name))


def require_targets(
    declared: Declared, environment: Mapping[str, str], migration_id: str
) -> tuple[str, ...]:
    """Return the targets of a migration that declares some.

    Raises:
        SettingsError: the variable is not set, or there are none.
    """
    if found := targets_in(declared, environment):
        return found
    if isinstance(declared, str):
        raise SettingsError(
            f"{declared} is not set, or empty: it lists what {migration_id} is made for,"
            f" like {declared}=ONE,TWO"
        )
    raise SettingsError(f"targets of {migration_id} is empty: list what it is made for")
