"""Each setting with its value and where that stands, and the files that settings are read from."""

import os
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.doctor.sources import ENVIRONMENT, Found, find_values
from mpt_tool.errors import SettingsError
from mpt_tool.settings import (
    ENV_FILE,
    PROJECT_FILE,
    PROJECT_TABLE,
    Section,
    Settings,
    is_given,
    is_secret,
    parse_env_file,
    read_env_file,
    read_table,
    variable_names,
    wrong_values,
)
from mpt_tool.storage import settings_of
from mpt_tool.storage.airtable.settings import StoreSettings

# Of one that others may use, too, these say that the store is meant.
_OF_THE_STORE = ("base_id", "table_name", "history_table_name")
_ALIKE = 0.75
_QUOTES = "\"'"


def checks_of_files(root: Path, storage_type: str) -> Iterator[Check]:
    """Yield what was read, and what could not be."""
    try:
        count = len(parse_env_file(root))
    except SettingsError as error:
        advice = "Correct it: all other commands refuse it"
        yield wrong(ENV_FILE, str(error), advice)
    else:
        yield right(ENV_FILE, _read(root / ENV_FILE, f"{count} set"))
    try:
        found = [read_table(each, root) for each in _parts(storage_type)]
    except SettingsError as error:
        advice = "Correct it: all other commands refuse it"
        yield wrong(PROJECT_FILE, str(error), advice)
        return
    count = sum(map(len, found))
    yield right(PROJECT_FILE, _read(root / PROJECT_FILE, f"{count} set in [{PROJECT_TABLE}]"))


def _read(path: Path, what: str) -> str:
    return what if path.is_file() else "not there"


def checks_of_settings(root: Path, storage_type: str) -> Iterator[Check]:
    """Yield all settings that may matter, and what only looks like one."""
    parts = _parts(storage_type)
    for part in parts:
        # Only scripts with the mixin ask for those of the platform.
        yield from _checks_of_part(part, root, is_needed=part is not PlatformSettings)
    if StoreSettings not in parts:
        yield from _of_another_store(root, storage_type)
    yield from _only_alike(root, [*parts, StoreSettings])


def _parts(storage_type: str) -> Sequence[type[Section]]:
    of_store = settings_of(storage_type)
    return [Settings, *([of_store] if of_store else []), PlatformSettings]


def _checks_of_part(part: type[Section], root: Path, *, is_needed: bool) -> Iterator[Check]:
    """Yield the settings of a part; if it is not needed, all of them may be missing."""
    values = find_values(part, root)
    is_needed = is_needed or any(values.values())
    try:
        problems = wrong_values(part, root)
    except SettingsError:
        # The line of that file says it.
        yield _unknown(part, [field for field, found in values.items() if not found])
        problems, values = {}, {field: found for field, found in values.items() if found}
    for field, found in values.items():
        documented = variable_names(part, field)[-1]
        if not found:
            yield _not_set(part, field, is_needed=is_needed)
        elif field in problems:
            advice = f"{problems[field][0].upper()}{problems[field][1:]}"
            yield wrong(documented, _shown(part, field, found), advice)
        elif advice := _odd(found[0]):
            yield doubtful(documented, _shown(part, field, found), advice)
        else:
            yield right(documented, _shown(part, field, found))


def _unknown(part: type[Section], fields: Sequence[str]) -> Check:
    """Return what it means that nobody knows whether a file that is refused sets something."""
    names = ", ".join(variable_names(part, field)[-1] for field in fields)
    value = "not known: a file cannot be read that may set them"
    return doubtful("other settings", f"{value}: {names}", "Correct that file first")


def _not_set(part: type[Section], field: str, *, is_needed: bool) -> Check:
    """Return what it means that nothing sets a setting."""
    documented, info = variable_names(part, field)[-1], part.model_fields[field]
    if info.is_required() and is_needed:
        place = "" if is_secret(part, field) else f", or to {PROJECT_FILE}"
        return wrong(documented, "not set", f"Add it to the environment or {ENV_FILE}{place}")
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if isinstance(default, Collection) and not isinstance(default, str):
        default = ", ".join(sorted(map(str, default)))
    return right(documented, "not set" if default in (None, "") else f"{default} (default)")


def _shown(part: type[Section], field: str, found: Sequence[Found]) -> str:
    """Return a value and where it stands, with what is passed over for it."""
    first, *others = found
    value = first.value
    if is_secret(part, field):
        value = f"*** of {len(str(value))} characters"
    differing = [each for each in others if each.value != first.value]
    passed_over = f"; another in {', '.join(map(_place, differing))} is not used"
    return f"{value} ({_place(first)}{passed_over if differing else ''})"


def _place(found: Found) -> str:
    return f"{found.source}: {found.name}"


def _odd(found: Found) -> str:
    """Return what to do about a value that is hardly meant so; nothing if it looks right."""
    text = str(found.value).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return "Remove the quotes: `docker run --env-file` for one takes them for a part of it"
    if text.lower().startswith("bearer "):
        return "Remove what stands before the token itself"
    if text.endswith("..."):
        return "Replace it: it looks like the example of a page"
    return ""


def _of_another_store(root: Path, storage_type: str) -> Iterator[Check]:
    """Yield what is set of Airtable, whose store is not used."""
    for field, found in find_values(StoreSettings, root).items():
        if not found:
            continue
        name, shown = variable_names(StoreSettings, field)[-1], _shown(StoreSettings, field, found)
        if field in _OF_THE_STORE:
            advice = "Set STORAGE_TYPE=airtable, or remove this"
            yield doubtful(name, f"{shown}, but the store is {storage_type}", advice)
        else:
            yield right(name, shown)


def _only_alike(root: Path, parts: Sequence[type[Section]]) -> Iterator[Check]:
    """Yield the variables that are named nearly as a setting that is not set."""
    fields = [(part, field) for part in parts for field in part.model_fields]
    names = {name for each in fields for name in variable_names(*each)}
    sources = ((ENVIRONMENT, os.environ), (ENV_FILE, read_env_file(root)))
    is_set = {name for _, variables in sources for name in variables}
    # By either name.
    unset = {
        name
        for each in fields
        if is_set.isdisjoint(variable_names(*each))
        for name in variable_names(*each)
    }
    for source, variables in sources:
        for name in sorted(variables.keys() - names):
            if is_given(variables[name]) and "_" in name:
                for alike in get_close_matches(name.upper(), unset, 1, _ALIKE):
                    advice = f"Rename it, if {alike} is meant; names are case-sensitive"
                    yield doubtful(name, f"no setting of this tool ({source})", advice)
