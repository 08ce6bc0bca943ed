"""The form that the guide begins with, as a user takes it from there, from rehearsal to the end."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.mpt_server import AGREEMENTS, MPTServer
from support.pages import python_in, text_of
from support.process import Process, wait_until
from support.project import Project

from mpt_tool.errors import ExitCode

pytestmark = pytest.mark.slow

GUIDE = text_of("batch-migrations")
PRODUCTS = ("PRD-1", "PRD-2", "PRD-3", "PRD-4")
OF_EACH = 12
MIGRATION = "set_regions"
RUN = ("batch", MIGRATION)


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    """A platform with four products and the agreements of each, and the form to run on it."""
    [script, *_] = python_in(GUIDE)
    project.file(f"migrations/20260201090000_{MIGRATION}.py", script)
    with MPTServer() as server:
        for place in range(OF_EACH):
            for number, product in enumerate(PRODUCTS, start=1):
                server.add_agreement(
                    f"AGR-{number}{place:03}",
                    product={"id": product},
                    status="Active" if place else "Terminated",
                    price={"currency": "USD" if place % 3 else "EUR"},
                    parameters={"fulfillment": [region("EU")] if place == 3 else []},
                )
        project.environment = {**server.settings, "MPT_PRODUCTS_IDS": ",".join(PRODUCTS[:3])}
        yield server


def region(name: str) -> dict[str, str]:
    return {"externalId": "region", "value": name}


def regions(platform: MPTServer, product: str) -> list[str | None]:
    """Return the region of each agreement of a product; None if it has none."""
    of_product = [each for each in platform.agreements() if each["product"]["id"] == product]
    found = [each["parameters"]["fulfillment"] for each in of_product]
    return [each[0]["value"] if each else None for each in found]


def parameters(platform: MPTServer) -> list[int]:
    """Return how many parameters each product has."""
    return [len(platform.items(f"catalog/products/{each}/parameters")) for each in PRODUCTS]


def listed(project: Project) -> dict[str, Any]:
    """Return what `--list` tells of the migration."""
    [migration] = project.run("migrate", "--list", "--json").json()["migrations"]
    found: dict[str, Any] = migration
    return found


def applied(project: Project) -> list[str]:
    """Return the targets that are applied, as `--list` tells."""
    targets = listed(project)["targets"]
    return [each["target"] for each in targets if each["status"] == "applied"]


DONE = [None, *(["US", "US", "EU"] * 4)[: OF_EACH - 1]]


def test_the_form_of_the_guide_is_limited_killed_resumed_and_given_one_more_product(
    project: Project, platform: MPTServer
) -> None:
    limited = project.run(*RUN, "--limit", "10")

    assert limited.exit_code == ExitCode.TRY_LATER
    assert "(PRD-1) was limited after 10 of 11 items" in limited.stderr
    assert applied(project) == []
    assert parameters(platform) == [1, 0, 0, 0]

    platform.delay(60, method="PUT", path="AGR-2007")
    with Process(project, *RUN, "--workers", "2") as killed:
        wait_until(lambda: bool(platform.requests("PUT", "AGR-2007")))
        killed.kill()

    assert applied(project) == ["PRD-1"]
    assert regions(platform, "PRD-1") == DONE
    assert parameters(platform) == [1, 1, 0, 0]

    resumed = project.run("migrate", "--data")

    assert resumed.exit_code == ExitCode.DONE, resumed.stderr
    assert "(PRD-1)" not in resumed.stderr
    assert [regions(platform, each) for each in PRODUCTS[:3]] == [DONE] * 3
    assert parameters(platform) == [1, 1, 1, 0]
    outcomes = listed(project)["outcomes"]
    assert sum(outcomes.values()) == 3 * (OF_EACH - 1)
    assert outcomes["right already"] >= 3
    assert project.run("pending").exit_code == ExitCode.DONE

    project.environment["MPT_PRODUCTS_IDS"] = ",".join(PRODUCTS)
    platform.clear_requests()

    assert applied(project) == ["PRD-1", "PRD-2", "PRD-3"]
    assert project.run("pending").exit_code == ExitCode.PENDING
    assert project.run("migrate", "--data").exit_code == ExitCode.DONE
    assert regions(platform, "PRD-4") == DONE
    assert all("/AGR-4" in request.path for request in platform.requests("PUT"))
    assert parameters(platform) == [1, 1, 1, 1]
    assert listed(project)["status"] == "applied"


def test_a_limit_that_is_reached_with_a_target_does_not_begin_the_next_one(
    project: Project, platform: MPTServer
) -> None:
    limited = project.run(*RUN, "--limit", str(OF_EACH - 1))

    assert limited.exit_code == ExitCode.TRY_LATER
    assert "(PRD-2) was not begun: as many items were handled as --limit allows" in limited.stderr
    assert parameters(platform) == [1, 0, 0, 0]
    assert project.outcomes() == [(MIGRATION, "applied")]


def test_the_form_of_the_guide_is_rehearsed_without_a_write(
    project: Project, platform: MPTServer
) -> None:
    rehearsal = project.run(*RUN, "--rehearse", "--json").json()

    assert {request.method for request in platform.requests()} == {"GET"}
    counted = {name: each["rehearsed"]["outcomes"] for name, each in rehearsal["targets"].items()}
    assert counted == {product: {"changed": 10, "right already": 1} for product in PRODUCTS[:3]}
    assert project.run(*RUN).exit_code == ExitCode.DONE
    assert len(platform.requests("PUT", AGREEMENTS)) == 30


def test_what_the_form_is_to_reach_is_verified_before_it_is_applied(
    project: Project, platform: MPTServer
) -> None:
    # As if the platform had taken the update, and lost it.
    platform.answer(200, {"id": "AGR-1005"}, method="PUT", path="AGR-1005")

    failed = project.run(*RUN)

    assert failed.exit_code == ExitCode.FAILED
    assert "(PRD-1) failed: agreements without a region: AGR-1005" in failed.stderr
    assert applied(project) == ["PRD-2", "PRD-3"]
    platform.remove(AGREEMENTS, "AGR-1005")
    platform.clear_requests()

    assert project.run(*RUN).exit_code == ExitCode.DONE
    assert {request.method for request in platform.requests()} == {"GET"}
