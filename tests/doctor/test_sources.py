"""Where the value of a setting stands, held against what is used."""

from itertools import product
from pathlib import Path

import pytest

from mpt_tool.doctor.sources import find_values
from mpt_tool.settings import ENV_FILE, PROJECT_FILE, Settings, load_settings

NEWER, OLDER = "MPT_TOOL_STORAGE_TYPE", "STORAGE_TYPE"
ABSENT, BLANK, SET = None, " ", "set"


def test_what_is_told_first_is_what_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(source, name) for source in ("environment", ENV_FILE) for name in (NEWER, OLDER)]
    places.append((PROJECT_FILE, "storage-type"))
    for values in product((ABSENT, BLANK, SET), repeat=len(places)):
        named = {
            place: f"{'.'.join(place)}" if value == SET else value
            for place, value in zip(places, values, strict=True)
            if value
        }
        for name in (NEWER, OLDER):
            monkeypatch.delenv(name, raising=False)
            if value := named.get(("environment", name)):
                monkeypatch.setenv(name, value)
        lines = [
            f"{name}='{named[ENV_FILE, name]}'" for _, name in places if (ENV_FILE, name) in named
        ]
        (tmp_path / ENV_FILE).write_text("\n".join(dict.fromkeys(lines)))
        rows = [f'storage-type = "{named[places[-1]]}"'] if places[-1] in named else []
        (tmp_path / PROJECT_FILE).write_text("\n".join(["[tool.mpt-tool]", *rows]))

        found = find_values(Settings, tmp_path)["storage_type"]
        used = load_settings(Settings, tmp_path).storage_type

        assert [(each.source, each.name) for each in found] == [
            place for place, value in zip(places, values, strict=True) if value == SET
        ]
        assert used == (found[0].value if found else "local")
