"""The tutorial, followed to the letter in an empty folder."""

import re

import pytest
from support.airtable_server import AirtableServer
from support.pages import Block, blocks, section, text_of
from support.project import Project
from support.reader import Reader

TUTORIAL = text_of("tutorial")
BASE = "appOfTheTutorial"
HEADINGS = (
    "Something to migrate",
    "A migration",
    "Stop it",
    "Kill it",
    "A failure, explained",
    "Mend it",
    "Into a pipeline",
)


@pytest.mark.slow
def test_the_tutorial_comes_to_its_end_as_it_says(project: Project) -> None:
    reader = Reader(project)

    for heading in HEADINGS:
        reader.follow(blocks(section(TUTORIAL, heading)))

    assert [outcome for _, outcome in project.outcomes()] == [
        *("stopped", "found dead", "failed", "applied")
    ]
    workflow = (project.root / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    _assert_released(reader, workflow)


def _assert_released(reader: Reader, workflow: str) -> None:
    """Assert that the steps of a workflow come to their end in a folder of a new clone."""
    for name in (".migrations-state.json", ".migrations-history.jsonl", "shop.db"):
        (reader.project.root / name).unlink()
    install, *steps = re.findall(r"^ +- run: (.+)$", workflow, re.MULTILINE)
    assert install == "pip install mpt-tool"
    with AirtableServer() as server:
        server.add_base(BASE)
        values = {
            "${{ vars.STORAGE_AIRTABLE_BASE_ID }}": BASE,
            "${{ secrets.AIRTABLE_API_KEY }}": server.token,
            "${{ github.sha }}": "1.0",
        }
        variables = re.findall(r"^ +([A-Z_]+): (.+)$", workflow, re.MULTILINE)
        reader.project.environment = {name: values.get(value, value) for name, value in variables}
        reader.project.environment["STORAGE_AIRTABLE_ENDPOINT_URL"] = server.url
        for step in ("mpt-tool migrate --init", *steps):
            reader.run(Block("bash", step))
            assert reader.exit_code == 0, reader.written
    assert re.search(r"tidy_emails +data +applied", reader.written[-1])


def test_all_of_the_tutorial_is_followed_but_the_installation() -> None:
    sections = re.findall(r"^## (.+)$", TUTORIAL, re.MULTILINE)

    assert sections == ["Install", *HEADINGS, "Where to go on"]
