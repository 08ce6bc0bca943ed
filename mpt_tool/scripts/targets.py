"""What a migration is made for: the list in its class, or in an environment variable."""

from collections.abc import Mapping, Sequence

from mpt_tool.errors import SettingsError

# What no id of the platform holds, and a list in another way than by commas does.
_SEPARATORS = {*"; \t\n|"}

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
    """Return the targets of a migration; none if it declares none.

    Raises:
        SettingsError: the variable is not set, or there are none in what it declares.
    """
    if not declared:
        return ()
    found = targets_in(declared, environment)
    if isinstance(declared, str) and not declared.isidentifier():
        raise SettingsError(
            f"targets of {migration_id} is {declared!r}, which names no variable: write a tuple,"
            f" such as ({declared.split(',')[0].strip()!r},)"
        )
    if odd := [name for name in found or () if isinstance(declared, str) and _SEPARATORS & {*name}]:
        raise SettingsError(f"{declared} lists {odd[0]!r}: separate what it lists by commas")
    if found:
        return found
    if isinstance(declared, str):
        raise SettingsError(
            f"{declared} is not set, or empty: it lists what {migration_id} is made for,"
            f" like {declared}=ONE,TWO"
        )
    raise SettingsError(f"targets of {migration_id} is empty: list what it is made for")
