"""Traces and metrics, as a real receiver of OTLP gets them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.airtable_server import AirtableServer
from support.batches import ASYNC, SYNC, numbers
from support.mpt_server import MPTServer
from support.process import Process
from support.project import Project
from support.receiver import Receiver, Span

SECRET = "s3cr3t-value-of-a-key"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def project(project: Project, receiver: Receiver) -> Project:
    project.environment |= receiver.telemetry
    return project


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    with MPTServer() as server:
        for number in range(1, 5):
            server.add_agreement(str(number))
        project.environment |= server.settings
        yield server


def requesting(project: Project, process: str, client: str, workers: int) -> None:
    """Write a migration that asks for four agreements, for each of two targets."""
    project.environment["MPT_PRODUCTS_IDS"] = "PRD-1,PRD-2"
    project.file(
        "migrations/1_sync.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            workers = {workers}
            targets = "MPT_PRODUCTS_IDS"

            def prepare(self):
                self.mpt_client.commerce.agreements.get("1")

            def items(self, cursor):
                return range((cursor or 0) + 1, 5)

            {process} process(self, item):
                {client}.commerce.agreements.get(str(item))

            def verify(self):
                self.mpt_client.commerce.agreements.get("2")
        """,
    )


def named(receiver: Receiver, name: str) -> list[Span]:
    return [span for span in receiver.spans() if span.name == name]


@pytest.mark.parametrize(
    ("process", "client", "workers"),
    [
        (SYNC, "self.mpt_client", 1),
        (SYNC, "self.mpt_client", 3),
        (ASYNC, "await self.async_mpt_client", 1),
        (ASYNC, "await self.async_mpt_client", 3),
    ],
)
def test_requests_belong_to_the_target_that_is_at_work_or_to_its_prepare_or_verify(
    project: Project,
    platform: MPTServer,
    receiver: Receiver,
    process: str,
    client: str,
    workers: int,
) -> None:
    requesting(project, process, client, workers)

    assert project.run("migrate", "--data").exit_code == 0

    run = ("migration sync", "migrate --data")
    of_targets = {(f"target PRD-{number}", *run) for number in (1, 2)}
    requests = named(receiver, "GET")
    assert [span.parents for span in requests if span.parents[0].startswith("target")] == [
        parents for parents in sorted(of_targets) for _ in range(4)
    ]
    others = {("prepare", *parents) for parents in of_targets}
    others |= {("verify", *parents) for parents in of_targets}
    assert {span.parents for span in requests} - of_targets == others
    first = requests[0].attributes
    assert first["url.full"] == f"{platform.url}/public/v1/commerce/agreements/1"
    assert first["http.response.status_code"] == 200


def test_a_run_its_lock_and_each_checkpoint_are_spans(project: Project, receiver: Receiver) -> None:
    numbers(project, batch_size=5)
    project.script("other")

    assert project.run("migrate", "--data", env={"SERVICE_VERSION": "1.2.3"}).exit_code == 0

    names = [(span.name, span.parents) for span in receiver.spans()]
    run = "migrate --data"
    migration = ("migration numbers", run)
    assert names == [
        (run, ()),
        ("lock", (run,)),
        ("migration numbers", (run,)),
        ("prepare", migration),
        ("checkpoint", migration),
        ("checkpoint", migration),
        ("migration other", (run,)),
    ]
    assert not any(span.is_error for span in receiver.spans())
    resource = receiver.spans()[0].resource
    assert (resource["service.name"], resource["service.version"]) == ("extension", "1.2.3")


@pytest.mark.parametrize("process", [SYNC, ASYNC])
@pytest.mark.parametrize(("executor", "workers"), [("thread", 1), ("thread", 3), ("process", 1)])
def test_of_items_those_that_failed_or_were_slow_are_spans(
    project: Project, receiver: Receiver, process: str, executor: str, workers: int
) -> None:
    pause = "await asyncio.sleep" if process is ASYNC else "time.sleep"
    body = f"""
        if number == 3:
            {pause}(0.2)
        if number == 5:
            raise ValueError("{SECRET}")
        """
    attributes = {"executor": repr(executor), "workers": workers, "on_error": "'collect'"}
    numbers(project, body, process=process, **attributes)  # type: ignore[arg-type] # of the class
    env = {"SLOW_ITEM_SECONDS": "0.2", "DATABASE_URL": f"postgres://user:{SECRET}@db"}

    assert project.run("migrate", "--data", env=env).exit_code == 1

    slow, failed = sorted(named(receiver, "item"), key=lambda span: span.is_error)
    assert slow.parents == failed.parents == ("migration numbers", "migrate --data")
    assert slow.attributes == {"mpt_tool.item": "3", "mpt_tool.item.slow": True}
    assert slow.ended - slow.began >= 0.2e9
    assert failed.attributes["mpt_tool.item"] == "5"
    event = failed.events["exception"]
    assert (event["exception.type"], event["exception.message"]) == ("ValueError", "***")
    assert "raise ValueError" in event["exception.stacktrace"]
    assert not any(SECRET.encode() in each.content for each in receiver.received)


def test_an_error_is_told_of_each_phase_that_it_ends(project: Project, receiver: Receiver) -> None:
    project.script("broken", body="raise RuntimeError('the shop is closed')")

    assert project.run("migrate", "--data").exit_code == 1

    failed = [span for span in receiver.spans() if span.is_error]
    assert [span.name for span in failed] == ["migrate --data", "migration broken"]
    assert {span.attributes["error.type"] for span in failed} == {"RuntimeError"}
    assert {span.attributes["mpt_tool.outcome"] for span in failed} == {"failed"}


def test_a_run_that_cannot_begin_is_told_too(project: Project, receiver: Receiver) -> None:
    project.file("migrations/1_nothing.py", "")

    assert project.run("migrate", "--data").exit_code == 1

    [span] = named(receiver, "migrate --data")
    assert "has no class Migration" in span.events["exception"]["exception.message"]


def test_what_a_run_did_is_exported_when_it_is_stopped(
    project: Project, receiver: Receiver
) -> None:
    numbers(project, "self.log.info('at work'); time.sleep(0.05)", total=1000)
    with Process(project, "migrate", "--data") as process:
        process.wait_for("at work")
        process.send(signal.SIGTERM)

        assert process.wait().exit_code == 75

    [migration] = named(receiver, "migration numbers")
    assert not migration.is_error
    assert migration.attributes["mpt_tool.outcome"] == "stopped"
    assert "SIGTERM" in migration.events["stopped"]["mpt_tool.reason"]
    [(_, processed)] = receiver.figures()["mpt_tool.items.processed"]
    assert processed > 0


def test_figures_tell_of_items_and_of_what_was_waited_for(
    project: Project, platform: MPTServer, receiver: Receiver
) -> None:
    requesting(project, SYNC, "self.mpt_client", 1)
    platform.answer(429, headers={"Retry-After": "0.2"}, path="agreements/3")

    assert project.run("migrate", "--data").exit_code == 0

    figures = receiver.figures()
    ids = {"mpt_tool.migration.id": "sync"}
    of_targets = [{**ids, "mpt_tool.target": each} for each in ("PRD-1", "PRD-2")]
    assert figures["mpt_tool.items.processed"] == [(each, 4) for each in of_targets]
    assert figures["mpt_tool.items.failed"] == [(each, 0) for each in of_targets]
    assert all(rate > 0 for _, rate in figures["mpt_tool.items.rate"])
    of_type = {**ids, "mpt_tool.migration.type": "data", "mpt_tool.outcome": "applied"}
    assert figures["mpt_tool.migrations"] == [(of_type, 1)]
    service = {"mpt_tool.service": "The platform"}
    assert figures["mpt_tool.requests.refused"] == [(service, 1)]
    [(_, waited)] = figures["mpt_tool.requests.wait"]
    assert waited >= 0.2
    assert figures["mpt_tool.lock.wait"][0][1] > 0


def test_requests_of_threads_that_a_script_starts_belong_to_its_migration(
    project: Project, platform: MPTServer, receiver: Receiver
) -> None:
    project.file(
        "migrations/1_threads.py",
        """\
        from concurrent.futures import ThreadPoolExecutor
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(DataBaseMigration, MPTAPIClientMixin):
            def run(self):
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(self.mpt_client.commerce.agreements.get, "1234"))
        """,
    )

    assert project.run("migrate", "--data").exit_code == 0

    parents = [span.parents for span in named(receiver, "GET")]
    assert parents == [("migration threads", "migrate --data")] * 4


def test_requests_of_the_store_are_told_too(
    project: Project, receiver: Receiver, server: AirtableServer
) -> None:
    project.environment |= server.settings
    project.script("one")

    assert project.run("migrate", "--data").exit_code == 0

    parents = [span.parents for span in receiver.spans() if span.attributes.get("url.full")]
    assert ("lock", "migrate --data") in parents
    assert ("migration one", "migrate --data") in parents
    assert () not in parents


def test_an_exporter_that_is_down_is_one_warning(project: Project, receiver: Receiver) -> None:
    receiver.status = 400
    numbers(project)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert result.stderr.count("WARNING") == 1
    assert "Telemetry: " in result.stderr


@pytest.mark.slow
def test_an_exporter_that_hangs_is_waited_for_a_few_seconds(
    project: Project, receiver: Receiver
) -> None:
    receiver.hangs = True
    project.script("one")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "Not sent within 8 seconds: spans" in result.stderr
    assert project.outcomes() == [("one", "applied")]


IMPORTED = """
    import sys
    print([each for each in ("opentelemetry", "apprise", "mpt_tool.observers.telemetry")
           if each in sys.modules])
    """


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_imported_that_is_not_asked_for(
    project: Project, variables: dict[str, str]
) -> None:
    project.environment = variables
    project.script("one", body=IMPORTED)

    with Process(project, "migrate", "--data", anew=True) as process:
        result = process.wait()

    assert result.exit_code == 0
    assert "[]\n" in result.stdout


def test_each_signal_goes_where_its_own_variables_say(project: Project, receiver: Receiver) -> None:
    url = f"http://{receiver.address}/v1/traces"
    project.environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url}
    project.script("one")

    result = project.run("migrate", "--data")

    assert {each.path for each in receiver.received} == {"/v1/traces"}
    assert "WARNING" not in result.stderr


def test_variables_of_opentelemetry_may_stand_in_env_file(
    project: Project, receiver: Receiver
) -> None:
    lines = "\n".join(f"{name}={value}" for name, value in receiver.telemetry.items())
    project.environment = {}
    project.file(".env", f"{lines}\nOTEL_SERVICE_NAME=shop\n")
    project.script("one")

    assert project.run("migrate", "--data").exit_code == 0

    assert receiver.spans()[0].resource["service.name"] == "shop"


def test_an_exporter_that_is_not_installed_is_named(project: Project) -> None:
    project.environment["OTEL_TRACES_EXPORTER"] = "zipkin"
    project.script("one")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "Telemetry cannot be set up: there is no exporter zipkin for traces" in result.stderr


def test_where_the_extra_is_missing_one_warning_says_how_to_get_it(
    project: Project, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "sitecustomize.py").write_text("import sys; sys.modules['opentelemetry'] = None\n")
    project.environment["PYTHONPATH"] = str(missing)
    project.script("one")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert result.stderr.count("WARNING") == 1
    assert "pip install 'mpt-tool[otel]'" in result.stderr


BOOTSTRAP = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

    class Names(SpanExporter):
        def export(self, spans):
            with open("spans.txt", "a") as file:
                file.writelines(f"{span.name}\\n" for span in spans)

    def start():
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(Names()))
        trace.set_tracer_provider(provider)

    def fail():
        raise RuntimeError("no connection string")
    """


def extension(project: Project, function: str) -> None:
    project.file("shop/__init__.py", "")
    project.file("shop/telemetry.py", BOOTSTRAP)
    project.file("pyproject.toml", f'[tool.mpt-tool]\ntelemetry = "shop.telemetry:{function}"\n')
    project.script("one")


def test_what_the_extensions_own_function_sets_up_is_used(project: Project) -> None:
    project.environment = {}
    extension(project, "start")

    assert project.run("migrate", "--data").exit_code == 0

    names = (project.root / "spans.txt").read_text().split("\n")
    assert names == ["lock", "migration one", "migrate --data", ""]


def test_what_the_extensions_own_function_leaves_out_the_variables_set_up(
    project: Project, receiver: Receiver
) -> None:
    extension(project, "start")

    assert project.run("migrate", "--data").exit_code == 0

    assert {each.path for each in receiver.received} == {"/v1/metrics"}
    assert (project.root / "spans.txt").exists()


@pytest.mark.parametrize(
    ("function", "reason"),
    [("fail", "RuntimeError: no connection string"), ("other", "AttributeError: ")],
)
def test_a_function_that_fails_is_a_warning(
    project: Project, receiver: Receiver, function: str, reason: str
) -> None:
    extension(project, function)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert f"Telemetry: shop.telemetry:{function} failed: {reason}" in result.stderr
    assert named(receiver, "migrate --data")


def test_what_is_no_function_is_refused(project: Project) -> None:
    project.environment = {}
    project.file("pyproject.toml", '[tool.mpt-tool]\ntelemetry = "shop.telemetry"\n')

    result = project.run("migrate", "--data")

    assert result.exit_code == 2
    assert "use a function like package.module:function" in result.stderr


def test_the_keys_of_headers_are_secrets(project: Project) -> None:
    key = "k3y-0f-a-backend"
    project.environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"api-key={key},x=Bearer%20{key}2"
    project.script("one", body=f"print('{key}'); self.log.info('{key}2')")

    result = project.run("migrate", "--data")

    assert key not in result.stderr


def test_what_just_looks_has_spans_too(
    project: Project, platform: MPTServer, receiver: Receiver
) -> None:
    requesting(project, SYNC, "self.mpt_client", 1)
    assert project.run("batch", "sync", "--dry-run").exit_code == 0
    assert project.run("migrate", "--data").exit_code == 0

    assert project.run("verify").exit_code == 0

    assert named(receiver, "batch sync --dry-run")
    verified = [span for span in named(receiver, "verify") if span.parents == ("verify",)]
    assert [span.attributes["mpt_tool.migration.name"] for span in verified] == [
        "sync (PRD-1)",
        "sync (PRD-2)",
    ]
    assert ("verify", "verify") in {span.parents for span in named(receiver, "GET")}
