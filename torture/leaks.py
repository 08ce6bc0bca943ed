"""Lets secrets come to the tool in every way that is known, and looks for them where it writes."""

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus

from support.batches import ASYNC, MIGRATION
from support.project import STATE_FILE, record

from torture import ways
from torture.figures import Fault, Figure
from torture.ways import FAILURES, LIST, PIPE, READING, RUN, STORE, Way, Written

SHOWN = "ways that showed a secret"
KEPT = "ways that kept one"
UNREACHED = "ways that led nowhere"
UNNAMED = "ways that the docs do not name"
_KINDS = (SHOWN, KEPT, UNREACHED)

_TOKEN = "idt:TKN-0001:ab/cd+ef01"
_HOOK = "whsec_0123456789"
IN_ENVIRONMENT = {
    "MPT_API_TOKEN": _TOKEN,
    "SHOP_API_KEY": "patABCDEF.0123456789",
    "SHOP_PASSWORD": "correct horse 'battery'",
    "SIGNING_KEY": "-----BEGIN-----\nMIIEvQIBADAN\n-----END-----",
    "DATABASE_URL": "postgres://shop:staple%2Fbattery@db.example.com/shop",
}
_ENV_FILE = f"PAYMENT_SECRET={_HOOK}"
FILES = {".env": _ENV_FILE}
_PLANTED = (
    *(_TOKEN, _HOOK, "patABCDEF.0123456789", "correct horse 'battery'", "MIIEvQIBADAN"),
    *("staple%2Fbattery", "staple/battery"),
)
_SPELLINGS = (
    *(str, json.dumps, html.escape, quote, quote_plus, partial(quote, safe="")),
    lambda secret: re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
    lambda secret: b64encode(secret.encode()).decode().rstrip("="),
    lambda secret: urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    # What is left of one that was cut.
    lambda secret: secret[: min(12, len(secret) // 2)],
    lambda secret: secret[-min(12, len(secret) // 2) :],
)
_LEAST = 6
_HIDDEN = {
    text
    for secret in _PLANTED
    for spell in _SPELLINGS
    if len(text := spell(secret).strip('"')) >= _LEAST
}

HELPERS = """\
import asyncio, atexit, base64, concurrent.futures, functools, html, json, logging, multiprocessing
import os, reprlib, subprocess, sys, textwrap, threading, time, urllib.parse, warnings

import httpx
import requests
from dotenv import dotenv_values
from pydantic import BaseModel
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin

SECRETS = {
    name: value
    for name, value in {**os.environ, **dotenv_values()}.items()
    if name.endswith(("TOKEN", "KEY", "PASSWORD", "SECRET", "DATABASE_URL"))
}
ALL = " ".join(SECRETS.values())
TOKEN = SECRETS["MPT_API_TOKEN"]
"""
RAISED = {
    "a message": "raise RuntimeError(ALL)",
    "arguments": "raise RuntimeError(SECRETS, list(SECRETS.values()))",
    "a key": "{}[ALL]",
    "an exit": "raise SystemExit(ALL)",
    "an interrupt": "raise KeyboardInterrupt(ALL)",
    "a class": "raise type(SECRETS['PAYMENT_SECRET'], (Exception,), {})('named')",
    "locals": "int(TOKEN)",
    "an attribute": "getattr(self, TOKEN)",
    "a line of the source": f"raise RuntimeError(len({_HOOK!r}))",
    "a code that is run": "exec(compile('int([])', ALL, 'exec'))",
    "a syntax error": "compile(f'x = {TOKEN}', 'rules', 'exec')",
    "a file name": "open(TOKEN)",
    "a value that is cut": """
        class Order(BaseModel):
            number: int
            names: list[int]
        Order.model_validate({"number": TOKEN * 9, "names": [ALL]})
        """,
    "a representation that is cut": "raise ValueError(reprlib.repr(TOKEN * 3))",
    "a text that is cut": "raise ValueError(TOKEN[:12] + '...')",
    "JSON": "raise ValueError(json.dumps(SECRETS))",
    "HTML": "raise ValueError(html.escape(ALL))",
    "percent-encoding": "raise ValueError(urllib.parse.quote(ALL, safe=''))",
    "percent-encoding in lower case": """
        encoded = urllib.parse.quote_plus(TOKEN)
        raise ValueError(encoded.replace("%2F", "%2f").replace("%3A", "%3a").replace("%2B", "%2b"))
        """,
    "base64": "raise ValueError(base64.b64encode(TOKEN.encode()).decode())",
    "base64 for addresses": "raise ValueError(base64.urlsafe_b64encode(b'x' + TOKEN.encode()))",
    "basic authentication": """
        header = base64.b64encode(f"shop:{SECRETS['SHOP_PASSWORD']}".encode()).decode()
        raise ValueError(f"Authorization: Basic {header}")
        """,
    "a key before a host": "raise ValueError(f'https://{SECRETS['SHOP_API_KEY']}@sentry.example/1')",
    "a part of a database's address": """
        address = urllib.parse.urlsplit(SECRETS["DATABASE_URL"])
        raise ValueError(address.password, urllib.parse.unquote(address.password))
        """,
    "a chain": """
        try:
            try:
                raise KeyError(ALL)
            except KeyError:
                os.environ[f"MISSING {ALL}"]
        except KeyError as error:
            raise RuntimeError("cannot connect") from error
        """,
    "a group with notes": """
        error = ValueError("one")
        error.add_note(f"while it used {ALL}")
        raise ExceptionGroup(ALL, [error, OSError(1, "refused", ALL)])
        """,
    "a request": """
        query = urllib.parse.urlencode(SECRETS)
        bearer = {"Authorization": f"Bearer {TOKEN}", "X-Key": ALL.split()[0]}
        reply = requests.get(f"{os.environ['SHOP_URL']}/v0?{query}", headers=bearer)
        logging.error("%s: %s", reply.url, reply.request.headers)
        reply.raise_for_status()
        """,
    "a request of another library": """
        reply = httpx.get(f"{os.environ['SHOP_URL']}/v0", params=SECRETS)
        logging.error("%s %s", reply.request.url, dict(reply.request.headers))
        reply.raise_for_status()
        """,
    "an address that cannot be reached": """
        requests.get(f"http://shop:{urllib.parse.quote(ALL)}@127.0.0.1:1/{urllib.parse.quote(ALL)}")
        """,
    "logs": """
        logging.info("%s", ALL)
        logging.info(ALL, stack_info=True)
        logging.debug(SECRETS)
        logging.warning("%(a)s", {"a": SECRETS})
        logging.getLogger(TOKEN).error("in a logger of its name")
        try:
            raise ValueError(ALL)
        except ValueError:
            logging.exception("what was raised")
            self.log.exception(ALL)
        raise RuntimeError("enough")
        """,
    "a logger that a script sets up": """
        logging.basicConfig(force=True, format="%(name)s %(message)s")
        logging.error(ALL)
        raise RuntimeError(ALL)
        """,
    "a warning": "warnings.warn(ALL)",
    "a command that fails": "subprocess.run(['false', ALL], check=True)",
    "a command that is not there": "subprocess.run([TOKEN])",
    "a command that takes too long": "subprocess.run(['sh', '-c', 'sleep 5', ALL], timeout=0.05)",
    "a thread of a pool": """
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(int, ALL).result()
        """,
    "a process of a pool": """
        fork = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork) as pool:
            pool.submit(int, ALL).result()
        """,
    "an event loop": """
        async def fail():
            raise ValueError(ALL)
        async def gather():
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(), name=TOKEN)
        asyncio.run(gather())
        """,
    "a task that nobody awaits": """
        async def fail():
            raise ValueError(ALL)
        async def forget():
            task = asyncio.create_task(fail(), name=TOKEN)
            await asyncio.sleep(0.01)
            del task
        asyncio.run(forget())
        """,
    "a coroutine that nobody awaits": """
        async def lost(): pass
        lost.__qualname__ = TOKEN
        lost()
        """,
    "`__del__`": """
        class Connection:
            def __del__(self):
                raise RuntimeError(TOKEN)
        Connection()
        """,
    "`atexit`": "atexit.register(int, TOKEN)",
    "a thread": "threading.Thread(target=int, args=(TOKEN,), name=ALL).start()",
    "a thread that outlasts the command": """
        def late():
            threading.main_thread().join()
            logging.error("the token is %s", TOKEN)
            int(TOKEN)
        threading.Thread(target=late).start()
        """,
    "a generator that is closed": """
        def items():
            try:
                yield 1
            finally:
                raise ValueError(ALL)
        next(items())
        """,
    "a hook of the script's own that gives way": """
        sys.unraisablehook = threading.excepthook = lambda *_: None
        raise ValueError(ALL)
        """,
    "a durable step that raises": "self.once('a', functools.partial(int, TOKEN))",
}
# Not to be among others, as items of one migration.
_ENDS_THE_RUN = {
    *("an exit", "an interrupt", "a coroutine that nobody awaits"),
    *("a logger that a script sets up", "a hook of the script's own that gives way"),
    "a thread that outlasts the command",
}
_WRITING = """
from mpt_tool.migration import BatchDataMigration

class Migration(BatchDataMigration, MPTAPIClientMixin):
    def items(self, cursor):
        yield from range(cursor or 0, 2)

    def process(self, number):
        self.mpt_client.commerce.agreements.create({"note": ALL, TOKEN: number})
"""
# What would be kept, and is refused.
_REFUSED = "holds a secret"
_FINDING = {"methods": "def find(self, cursor): return cursor"}
_COLLECTING = {"on_error": "'collect'"}
_AFTER_ITEMS = (RUN, FAILURES, (*FAILURES, "--json"), (*FAILURES, "--csv"), ("history", MIGRATION))
_OF_BATCH = {
    "an item": Way(batch={"body": "raise ValueError(ALL)"}, reaches="***"),
    "items that are collected": Way(
        commands=_AFTER_ITEMS, batch={"body": "raise ValueError(ALL)", **_COLLECTING}, reaches="***"
    ),
    "items side by side": Way(
        commands=_AFTER_ITEMS,
        batch={"body": "raise ValueError(ALL)", "process": ASYNC, "workers": 2, **_COLLECTING},
        reaches="***",
    ),
    "items at once": Way(
        commands=_AFTER_ITEMS,
        batch={
            "many": 2,
            "methods": "def process_many(self, numbers): raise ValueError(ALL)",
            **_COLLECTING,
        },
        reaches="***",
    ),
    "items that are retried": Way(
        commands=(RUN, ("batch", MIGRATION, "--retry-failed"), FAILURES),
        batch={"body": "raise ValueError(ALL)", **_COLLECTING},
        reaches="***",
    ),
    "the one item that is asked for": Way(
        commands=(("batch", MIGRATION, "--only", "2"), ("history",)),
        batch={"body": "raise ValueError(ALL)", **_FINDING},
        reaches="***",
    ),
    "a line that an item logs": Way(batch={"body": "self.log.info(ALL)"}, reaches="***"),
    "the name of an item": Way(
        commands=(("batch", MIGRATION, "--dry-run"), RUN),
        batch={
            "body": "self.log.info('done')",
            "methods": "def describe(self, number): return f'{number} {ALL}'",
        },
        reaches="***",
    ),
    "an outcome": Way(
        commands=(RUN, ("migrate", "--list", "--json"), ("history", MIGRATION)),
        batch={"methods": "def process(self, number): return ALL"},
        reaches="***",
    ),
    "a cursor": Way(
        batch={
            "body": "assert number < 2",
            "methods": "def cursor(self, number): return f'{number} {ALL}'",
        },
        reaches=_REFUSED,
    ),
    "a cursor with another": Way(
        batch={
            "body": "assert number < 2",
            "methods": "def cursor(self, number): return [{'key': TOKEN}, number]",
        },
        reaches=_REFUSED,
    ),
    "a durable step": Way(
        batch={"body": "self.once(str(number), lambda: {'token': TOKEN})"}, reaches=_REFUSED
    ),
    "the key of a durable step": Way(
        batch={"body": "self.once(TOKEN, lambda: 1)"}, reaches=_REFUSED
    ),
    "a target": Way(
        batch={"targets": "'SHOP_TARGETS'"},
        environment={"SHOP_TARGETS": f"PRD-1,{_HOOK}"},
        reaches="***",
    ),
    "what is prepared": Way(
        batch={"methods": "def prepare(self): raise ValueError(ALL)"}, reaches="***"
    ),
    "what is counted": Way(
        batch={"methods": "def count(self): raise ValueError(ALL)"}, reaches="***"
    ),
    "a number that is none": Way(batch={"methods": "def count(self): return ALL"}, reaches="***"),
    "what is verified": Way(
        commands=(RUN, ("migrate", "--fake", MIGRATION), ("verify",), ("verify", "--json")),
        batch={"methods": "def verify(self): raise ValueError(ALL)"},
        reaches="***",
    ),
    "items that cannot be had": Way(
        batch={"methods": "def items(self, cursor): return TOKEN and int(ALL)"}, reaches="***"
    ),
    "a rehearsal": Way(
        commands=(("batch", MIGRATION, "--rehearse", "--unguarded", "--json"),),
        batch={"body": "raise ValueError(ALL)"},
        reaches="***",
    ),
    "what a rehearsal would write": Way(
        commands=(("batch", MIGRATION, "--rehearse"), ("batch", MIGRATION, "--rehearse", "--json")),
        files={f"migrations/1_{MIGRATION}.py": f"{HELPERS}{_WRITING}"},
        environment={"MPT_API_BASE_URL": "http://127.0.0.1:1"},
        reaches="***",
    ),
    "a dry run": Way(
        commands=(("batch", MIGRATION, "--dry-run", "--json"),),
        batch={"methods": "def items(self, cursor): raise ValueError(ALL)"},
        reaches="***",
    ),
}
_ARGUMENTS = {
    ("migrate", "--data", _HOOK): "***",
    ("migrate", "--fake", _HOOK): "***",
    ("migrate", "--new-data", f"{_HOOK}!"): "***",
    ("migrate", "--data", "--folder", _HOOK): "***",
    ("migrate", "--data", "--wait", _HOOK): "--wait",
    ("migrate", _HOOK, _HOOK): "***",
    (f"--{_HOOK}",): "***",
    (_HOOK,): "***",
    ("batch", _HOOK): "***",
    ("batch", MIGRATION, "--only", _HOOK): "***",
    ("batch", MIGRATION, "--target", _HOOK): "***",
    ("batch", MIGRATION, "--workers", _HOOK): "--workers",
    ("history", _HOOK): "***",
    ("history", "--since", _HOOK): "***",
    ("failures", _HOOK): "***",
    ("verify", _HOOK): "***",
    ("pending", "--type", _HOOK): "***",
    ("unlock", _HOOK): "Nothing to unlock",
}
_AIRTABLE = {
    "STORAGE_TYPE": "airtable",
    "AIRTABLE_API_KEY": "patZYX.9876543210",
    "STORAGE_AIRTABLE_BASE_ID": "appX",
    "STORAGE_AIRTABLE_ENDPOINT_URL": "http://127.0.0.1:1",
    "STORAGE_AIRTABLE_RETRY_SECONDS": "0",
}
_OF_SETTINGS = {
    f"an argument: {' '.join(arguments).replace(_HOOK, '…')}": Way(
        commands=(arguments,), batch={"body": "raise ValueError(ALL)", **_FINDING}, reaches=reaches
    )
    for arguments, reaches in _ARGUMENTS.items()
} | {
    "the version of the service": Way(
        commands=(RUN, LIST, ("history", "first")),
        script="self.log.info(TOKEN)",
        environment={"SERVICE_VERSION": f"v-{_HOOK}"},
        reaches="v-***",
    ),
    "the name of the user": Way(
        commands=(RUN, ("history", "first")),
        script="raise ValueError",
        environment={"LOGNAME": _HOOK},
        reaches="user: ***",
    ),
    "a script that cannot be loaded": Way(
        commands=(
            RUN,
            ("migrate", "--data", "--dry-run", "--json"),
            ("migrate", "--fake", "first"),
        ),
        files={"migrations/1_first.py": f"{HELPERS}raise RuntimeError(ALL)"},
        reaches="***",
    ),
    "a setting that is wrong": Way(
        commands=(LIST, ("migrate", "--list", "--json")),
        environment={"DATA_TIME_LIMIT": _HOOK},
        reaches="***",
    ),
    "a store that is none": Way(
        commands=(LIST,), environment={"STORAGE_TYPE": _HOOK}, reaches="***"
    ),
    "the address of a store": Way(
        commands=(LIST,),
        environment={**_AIRTABLE, "STORAGE_AIRTABLE_ENDPOINT_URL": f"http://a:{_HOOK}@127.0.0.1:1"},
        reaches="cannot be reached",
    ),
    "the id of a base": Way(
        commands=(LIST,),
        environment={**_AIRTABLE, "STORAGE_AIRTABLE_BASE_ID": _HOOK},
        reaches="cannot be reached",
    ),
    "a key that no header may hold": Way(
        commands=(LIST,),
        environment={**_AIRTABLE, "AIRTABLE_API_KEY": f"pat\n{_HOOK}"},
        reaches="AIRTABLE_API_KEY",
    ),
    "a key beyond ASCII": Way(
        commands=(LIST,),
        environment={**_AIRTABLE, "AIRTABLE_API_KEY": f"pat€{_HOOK}"},
        reaches="AIRTABLE_API_KEY",
    ),
    "a store that repeats it": Way(
        commands=(RUN, LIST, ("migrate", "--init"), ("history", "--json"), ("unlock", "?")),
        script="pass",
        refusal={"error": {"type": "INVALID", "message": f"{_HOOK} may not, Bearer {_HOOK}"}},
        reaches="*** may not",
    ),
    "a line of `.env` that is none": Way(
        commands=(LIST, RUN), files={".env": f"{_ENV_FILE}\n{_HOOK}"}, reaches="line 2"
    ),
    "a `.env` that is not closed": Way(
        commands=(LIST,), files={".env": f'PAYMENT_SECRET="{_HOOK}'}, reaches="line 1"
    ),
    "`pyproject.toml`": Way(
        commands=(LIST,),
        files={"pyproject.toml": f"[tool.mpt-tool.airtable]\napi-key = '{_HOOK}'"},
        environment={"STORAGE_TYPE": "airtable"},
        reaches="api-key is a secret",
    ),
    "a `pyproject.toml` that cannot be read": Way(
        commands=(LIST,),
        files={"pyproject.toml": f"[tool.mpt-tool]\nkey = {_HOOK}"},
        reaches="cannot be read",
    ),
    "a setting that nobody knows": Way(
        commands=(LIST,), files={"pyproject.toml": f"[tool.mpt-tool]\n{_HOOK} = 1"}, reaches="***"
    ),
}
_OF_OTHERS = {
    "a state that cannot be read": Way(
        commands=READING,
        script="pass",
        files={STATE_FILE: json.dumps({_HOOK: {"migration_id": _TOKEN}})},
        reaches="***",
    ),
    "a holder of the lock": Way(
        script="pass",
        rows=[
            {
                "migration_id": f"lock:{_HOOK}:1:a",
                "order_id": 0,
                "started_at": "2026-01-01T00:00:00+00:00",
            }
        ],
        reaches="Locked by process 1 on ***",
    ),
}
_PAGE = Path(__file__).parents[1] / "docs/reference/configuration.md"
# Where no promise is made: by what the page on secrets says of it, of which each shows this.
NAMED: Mapping[str, Way] = {
    "values shorter than 6 characters": Way(
        script="raise ValueError('a1b2c')", environment={"SHOP_KEY": "a1b2c"}, reaches="a1b2c"
    ),
    "a secret that the environment does not have": Way(
        script="raise ValueError('fetched-9.8.7.6.5')", reaches="fetched-9.8.7.6.5"
    ),
    "hexadecimal": Way(
        script="raise ValueError(TOKEN.encode().hex())", reaches=_TOKEN.encode().hex()
    ),
    "pieces of it from its middle": Way(
        script="raise ValueError(TOKEN[7:17])", reaches=_TOKEN[7:17]
    ),
    "what a script prints": Way(script="print(TOKEN)", reaches=_TOKEN),
    "what the programs write that it starts": Way(
        script="subprocess.run(['echo', TOKEN])", reaches=_TOKEN
    ),
    "what a process of its own tells that it forks": Way(
        script="""
        process = multiprocessing.get_context("fork").Process(target=int, args=(TOKEN,))
        process.start()
        process.join()
        """,
        reaches=_TOKEN,
    ),
    "the names of scripts": Way(
        commands=(LIST,), files={f"migrations/1_{_HOOK}.py": ""}, reaches=_HOOK
    ),
    "what others wrote into the store": Way(
        commands=(LIST,),
        files={STATE_FILE: json.dumps({_HOOK: record(_HOOK, version=_TOKEN)})},
        reaches=_HOOK,
    ),
}
WAYS: Mapping[str, Way] = {
    **{name: Way(script=script, reaches="***") for name, script in RAISED.items()},
    **_OF_BATCH,
    **_OF_SETTINGS,
    **_OF_OTHERS,
}


def short_ways(every: int) -> Mapping[str, Way]:
    """Return what scripts raise as items of one migration, and every so many of the other ways."""
    items = {name: script for name, script in RAISED.items() if name not in _ENDS_THE_RUN}
    others = {name: way for name, way in WAYS.items() if name not in items}
    return ways.in_short(items, others, every)


def figures(
    folder: Path,
    outputs: Sequence[str],
    afterwards: Sequence[Sequence[str]] = (),
    ways_gone: Mapping[str, Way] = WAYS,
) -> Iterator[Figure]:
    """Yield a figure for each output, and one for what the docs do not promise.

    Args:
        folder: where the projects are made.
        outputs: where the commands write.
        afterwards: commands that follow those of each way.
        ways_gone: by name.
    """
    for output in outputs:
        chosen = {name: way for name, way in ways_gone.items() if output != STORE or way.runs}
        yield Figure(
            f"A secret on its way to {output}",
            f"{len(chosen)} ways",
            _KINDS,
            ways.faults(folder, chosen, output, HELPERS, IN_ENVIRONMENT, FILES, _judge, afterwards),
        )
    yield Figure(
        "A secret that is not promised to be hidden",
        f"{len(NAMED)} ways that docs/reference/configuration.md names",
        (UNNAMED, UNREACHED),
        ways.faults(folder / "named", NAMED, PIPE, HELPERS, IN_ENVIRONMENT, FILES, _judge_named),
    )


def shown_in(texts: Iterable[str]) -> list[str]:
    """Return the secrets that are in the texts."""
    return [secret for secret in _HIDDEN if any(secret in text for text in texts)]


def _judge(name: str, way: Way, written: Written) -> Iterator[Fault]:
    for kind, places in ((SHOWN, written.shown), (KEPT, written.kept)):
        for place, texts in places.items():
            if found := shown_in(texts):
                yield Fault(kind, f"{name}: {place}: {found} in {texts}")
    yield from _judge_reach(name, way, written)


def _judge_named(name: str, way: Way, written: Written) -> Iterator[Fault]:
    if name.partition(", ")[0] not in " ".join(_PAGE.read_text(encoding="utf-8").split()):
        yield Fault(UNNAMED, name)
    yield from _judge_reach(name, way, written)


def _judge_reach(name: str, way: Way, written: Written) -> Iterator[Fault]:
    if not any(way.reaches in text for text in written.texts):
        yield Fault(UNREACHED, f"{name}: {written}")
