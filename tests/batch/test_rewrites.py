"""Loops as they are written by hand, and their rewrites in examples/batch/rewrites/."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.http_server import LoopbackServer, Reply, Request
from support.mpt_server import AGREEMENTS, MPTServer
from support.project import Project

from mpt_tool.errors import ExitCode

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
REWRITES = REPOSITORY / "examples" / "batch" / "rewrites"
SUBSCRIPTIONS = "commerce/subscriptions"
BEFORE, AFTER = "before", "after"
NAMES = ("subscriptions", "second_system", "asynchronous")


class Accounts(LoopbackServer):
    """A service beside the platform: it creates an account whenever it is asked to."""

    def __init__(self) -> None:
        super().__init__("", time.time)
        self.accounts: list[dict[str, str]] = []
        self._numbers = count(1)

    def unauthenticated(self) -> Reply:
        return Reply.of(401, "")

    def handle(self, request: Request) -> Reply:
        if request.method == "GET":
            [name] = request.query["name"]
            return Reply.of(200, [each for each in self.accounts if each["name"] == name])
        account = {"id": f"{request.body['name']}-{next(self._numbers)}", **request.body}
        self.accounts.append(account)
        return Reply.of(201, account)


@pytest.fixture
def accounts() -> Iterator[Accounts]:
    with Accounts() as server:
        yield server


@pytest.fixture
def platform(project: Project, accounts: Accounts) -> Iterator[MPTServer]:
    """A platform with two products, agreements of both, and their subscriptions."""
    with MPTServer() as server:
        fill(project, server, accounts)
        yield server


def fill(project: Project, server: MPTServer, accounts: Accounts) -> None:
    project.environment = {
        **server.settings,
        "MPT_PRODUCTS_IDS": "PRD-1,PRD-2",
        "ACCOUNTS_URL": f"{accounts.url}/accounts",
    }
    accounts.accounts.append({"id": "ACC-0", "name": "AGR-2"})
    server.add("catalog/products/PRD-2/parameters", "PAR-9", externalId="channel")
    for number in range(1, 6):
        agreement = f"AGR-{number}"
        server.add_agreement(
            agreement,
            status="Terminated" if number == 5 else "Active",
            product={"id": f"PRD-{1 + number % 2}"},
            seller={"id": f"SEL-{1 + number % 3}"},
            externalIds={"vendor": "ACC-0" if number == 2 else ""},
        )
        for half in range(2):
            server.add(
                SUBSCRIPTIONS,
                f"SUB-{number}{half}",
                status="Active",
                name=f"Seats {number}" + " (trial)" * half,
                agreement={"id": agreement},
                parameters={"fulfillment": [{"externalId": "channel", "value": "direct"}]},
            )


def contents(server: MPTServer) -> dict[str, list[dict[str, Any]]]:
    """Return what the platform holds that a migration may change."""
    parameters = [f"catalog/products/PRD-{number}/parameters" for number in (1, 2)]
    return {name: server.items(name) for name in (*parameters, AGREEMENTS, SUBSCRIPTIONS)}


def use(project: Project, name: str, when: str) -> None:
    """Let the project have the script, and not have run it."""
    text = (REWRITES / f"{name}_{when}.py").read_text(encoding="utf-8")
    project.file(f"migrations/1_{name}.py", text)
    project.state_file.unlink(missing_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_and_its_rewrite_leave_the_platform_the_same(project: Project, name: str) -> None:
    left = []
    for when in (BEFORE, AFTER):
        with MPTServer() as server, Accounts() as accounts:
            fill(project, server, accounts)
            untouched = contents(server)
            use(project, name, when)
            result = project.run("migrate", "--data")
            assert result.exit_code == ExitCode.DONE, result.stderr
            left.append((contents(server), accounts.accounts))

    assert left[0] == left[1]
    assert left[0][0] != untouched


@pytest.mark.parametrize("name", NAMES)
def test_a_rewrite_that_runs_again_writes_nothing(
    project: Project, platform: MPTServer, accounts: Accounts, name: str
) -> None:
    use(project, name, AFTER)
    assert project.run("migrate", "--data").exit_code == ExitCode.DONE
    platform.clear_requests()
    accounts.clear_requests()
    project.state_file.unlink()

    assert project.run("migrate", "--data").exit_code == ExitCode.DONE

    methods = {request.method for request in [*platform.requests(), *accounts.requests()]}
    assert methods == {"GET"}


@pytest.mark.parametrize(
    ("name", "path"),
    [("subscriptions", "SUB-10"), ("second_system", "AGR-1"), ("asynchronous", "SUB-11")],
)
def test_the_loop_hides_the_failure_that_its_rewrite_keeps(
    project: Project, name: str, path: str
) -> None:
    ended = []
    for when in (BEFORE, AFTER):
        with MPTServer() as server, Accounts() as accounts:
            fill(project, server, accounts)
            server.answer(400, {"title": "Bad Request"}, method="PUT", path=path)
            use(project, name, when)
            ended.append(project.run("migrate", "--data").exit_code)
            if when == AFTER:
                ended.append(project.run("batch", name, "--retry-failed").exit_code)

    assert ended == [ExitCode.DONE, ExitCode.FAILED, ExitCode.DONE]


@pytest.mark.parametrize("name", NAMES)
def test_a_rehearsal_of_a_rewrite_writes_nothing_and_tells_the_outcomes_of_the_run_after_it(
    project: Project, platform: MPTServer, accounts: Accounts, name: str
) -> None:
    use(project, name, AFTER)

    looked = project.run("batch", name, "--rehearse", "--json").json()

    assert {each.method for each in [*platform.requests(), *accounts.requests()]} == {"GET"}
    sights = list(looked["targets"].values()) if "targets" in looked else [looked["items"]]
    rehearsed = [sight["rehearsed"]["outcomes"] for sight in sights]
    assert project.run("migrate", "--data").exit_code == ExitCode.DONE
    assert rehearsed == [attempt["outcomes"] for attempt in project.attempts()]


def test_an_account_whose_reply_was_lost_is_made_twice_by_the_loop_and_once_by_its_rewrite(
    project: Project,
) -> None:
    made = {}
    for when in (BEFORE, AFTER):
        with MPTServer() as server, Accounts() as accounts:
            fill(project, server, accounts)
            accounts.drop(method="POST", after_write=True)
            use(project, "second_system", when)
            project.run("migrate", "--data")
            if when == BEFORE:
                project.state_file.unlink()
                project.run("migrate", "--data")
            else:
                project.run("batch", "second_system", "--retry-failed")
            assert all(each["externalIds"]["vendor"] for each in server.agreements()[:4])
            made[when] = len(accounts.accounts)

    assert made == {BEFORE: 5, AFTER: 4}
