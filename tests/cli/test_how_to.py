"""What the pages on pipelines and containers tell to do works to the letter."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.airtable_server import BASE, AirtableServer
from support.pages import REPOSITORY, Block, blocks, text_of
from support.project import COMMAND, Project

PATH = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
# What each sets, and what one puts into its store of secrets; by the page.
SERVICES = {
    "github-actions": {"GITHUB_ACTIONS": "true"},
    "gitlab": {"GITLAB_CI": "true", "CI_COMMIT_TAG": "v1.4.0"},
    "azure-devops": {"TF_BUILD": "True"},
}


def shown(page: str, title: str = "") -> Block:
    """Return the one file that a page shows, or that with this name."""
    [block] = [each for each in blocks(text_of(page)) if each.title and title in each.title]
    return block


def steps(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what a pipeline runs, with the name of its job, in the order of the file."""
    if "jobs" in value:
        jobs = value["jobs"]
        named = jobs.items() if isinstance(jobs, dict) else ((job["job"], job) for job in jobs)
    else:
        named = ((name, job) for name, job in value.items() if "stage" in job)
    for name, job in named:
        for step in job.get("steps") or [*job["script"], *job.get("after_script", [])]:
            command = step if isinstance(step, str) else step.get("run") or step.get("script")
            if command:
                yield name, command


@pytest.fixture
def two(project: Project) -> Project:
    project.script("first", type="schema")
    project.script("second")
    return project


def statuses(project: Project, env: Mapping[str, str]) -> list[str]:
    """Return the status of each migration."""
    listed = project.run("migrate", "--list", "--json", env=env).json()["migrations"]
    return [each["status"] for each in listed]


@pytest.mark.parametrize(("page", "env"), SERVICES.items(), ids=SERVICES)
def test_each_step_of_a_pipeline_passes_and_all_migrations_are_applied(
    two: Project, server: AirtableServer, page: str, env: Mapping[str, str]
) -> None:
    server.add_base(BASE)
    # Once is enough to see that its settings are the ones: runs that may wait there take seconds.
    is_shared = page == "github-actions"
    store = {**env, **(server.settings if is_shared else {"STORAGE_TYPE": "local"})}
    assert two.run("migrate", "--init", env=store).exit_code == 0

    pipeline = yaml.safe_load(shown(page).text)
    ran = [each for each in steps(pipeline) if not each[1].startswith("pip install")]
    for job, command in ran:
        result = two.execute(["bash", "-ec", command], env={**store, "PATH": PATH})
        assert result.exit_code == 0, (job, command, result)

    assert statuses(two, store) == ["applied", "applied"]
    assert len(ran) > 3


def test_what_gitlab_is_given_is_a_report(two: Project) -> None:
    two.file("migrations/3_empty.py", "")
    [command] = [each for _, each in steps(yaml.safe_load(shown("gitlab").text)) if ">" in each]

    two.execute(["bash", "-ec", command], env={"PATH": PATH, "GITLAB_CI": "true"})

    [finding] = json.loads((two.root / "gl-code-quality-report.json").read_text())
    assert finding["location"]["path"] == "migrations/3_empty.py"


def test_the_hook_checks_whichever_folder_it_is_told(two: Project) -> None:
    first, second = (each.text for each in blocks(text_of("pre-commit")))
    [asked] = yaml.safe_load(first)["repos"][0]["hooks"]
    [hook] = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    [elsewhere] = yaml.safe_load(second)
    assert hook["id"] == asked["id"] == elsewhere["id"]

    def exit_code(arguments: list[str]) -> int:
        command = [*hook["entry"].split(), *arguments]
        return two.execute(command, env={"PATH": PATH}).exit_code

    assert exit_code(hook["args"]) == 0
    assert exit_code(elsewhere["args"]) == 1
    shutil.move(two.migrations, two.root / "backend" / "migrations")
    assert (exit_code(hook["args"]), exit_code(elsewhere["args"])) == (0, 0)
    two.file("backend/migrations/3_empty.py", "")
    assert (exit_code(hook["args"]), exit_code(elsewhere["args"])) == (0, 1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up its rights")
def test_a_container_without_home_or_rights_to_its_code_migrates(two: Project) -> None:
    *_, shell = [block.text for block in blocks(text_of("docker")) if block.language == "bash"]
    command = shell.replace("\\\n", "").split("shop:1.4.0")[1].split()
    command = [str(two.migrations) if "/" in each else each for each in command]
    volume = two.root.parent / "state"
    volume.mkdir()
    for folder in (two.root, two.migrations):
        folder.chmod(0o555)
    # As any user in a container: rights to write are asked for.
    without_rights = ["setpriv", "--bounding-set=-dac_override", "env", "-u", "HOME"]

    result = two.execute([*without_rights, *command], env={"PATH": PATH}, below="../state")
    denied = two.execute([*without_rights, "touch", "migrations/new"])

    assert result.exit_code == 0, result
    assert denied.exit_code == 1
    assert {".migrations-state.json", ".migrations-history.jsonl"} <= {
        each.name for each in volume.iterdir()
    }
    assert [each.name for each in two.root.iterdir()] == ["migrations"]
    assert len(list(two.migrations.iterdir())) == 2
