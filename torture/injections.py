"""Lets text that steers terminals and forges lines come to the tool, and looks where it shows."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.batches import ASYNC, MIGRATION
from support.project import HISTORY_FILE, STATE_FILE, record

from torture import ways
from torture.figures import Fault, Figure
from torture.ways import FAILURES, LIST, READING, RUN, STORE, TERMINAL, Way, Written

STEERS = "ways that steered a terminal"
FORGES = "ways that forged a line"
BROKEN = "ways that broke a document"
UNREACHED = "ways that led nowhere"
_KINDS = (STEERS, FORGES, BROKEN, UNREACHED)

FORGED = "2026-01-01 00:00:00,000 - INFO - Applied migration: paid"
# Erases, names the window, colours by C1, turns text about, goes back, and begins lines.
EVIL = (
    f"a\x1b[2J\x1b]0;title\x07\x9b31m\u202eb\u2066\r{FORGED}\n{FORGED}\n\x85{FORGED}\u2028c\x00\x7f"
)
# Neither a path, nor a variable, nor an argument holds a NUL.
_NAME = EVIL.replace("\x00", "")
# Of a file: two names at most are as long, and none holds a slash.
_FILE = "\x1b[2J\u202e\r\n\x9b31m"
_SHOWN = "\\x1b[2J"
_MOMENT = "2026-01-13T18:05:20+00:00"
# What is drawn in place by ourselves, and colours.
_OUR_OWN = re.compile(
    r"\r\x1b\[2K|\x1b\[[0-9;]*m|[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] (\[\d/\d\] \w+|\S+) [^\n]*?\d:\d\d:\d\d|\x1b\[\?25[lh]"
)
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp"}

HELPERS = f"""\
import asyncio, atexit, logging, sys, threading, warnings

EVIL = {EVIL!r}
"""
_RAISED = {
    "a message": "raise ValueError(EVIL)",
    "a key": "{}[EVIL]",
    "a class": "raise type('a\\x1b[2J\\n', (Exception,), {})('named')",
    "notes": """
        error = ValueError("one")
        error.add_note(EVIL)
        error.add_note("two\\n" + EVIL)
        raise error
        """,
    "a chain": """
        try:
            raise KeyError(EVIL)
        except KeyError as error:
            raise ValueError(EVIL) from error
        """,
    "a group": "raise ExceptionGroup(EVIL, [ValueError(EVIL), TypeError(EVIL)])",
    "a code that is run": "exec(compile('int([])', EVIL.replace(chr(0), ''), 'exec'))",
    "a syntax error": "raise SyntaxError(EVIL, (EVIL, 1, 1, EVIL))",
    "a file name": "open(EVIL.replace(chr(0), ''))",
    "a log": "self.log.error(EVIL); logging.error('%s', EVIL)",
    "a log with a traceback": """
        try:
            raise ValueError(EVIL)
        except ValueError:
            self.log.exception(EVIL, stack_info=True)
        """,
    "a warning": "warnings.warn(EVIL)",
    "a thread": """
        thread = threading.Thread(target=int, args=[EVIL], name=EVIL)
        thread.start()
        thread.join()
        """,
    "`__del__`": """
        class Row:
            def __repr__(self): return EVIL
            def __del__(self): raise ValueError(EVIL)
        Row()
        """,
    "`atexit`": "atexit.register(int, EVIL)",
    "a task": """
        async def fail():
            raise ValueError(EVIL)
        async def forget():
            task = asyncio.create_task(fail(), name=EVIL)
            await asyncio.sleep(0.01)
            del task
        asyncio.run(forget())
        """,
    "an exit": "sys.exit(EVIL)",
    "an interrupt": "raise KeyboardInterrupt(EVIL)",
    "the key of a durable step": "self.once(EVIL, lambda: int(EVIL))",
}
# Not to be among others, as items of one migration.
_ENDS_THE_RUN = {"an exit", "an interrupt"}
_COLLECTING = {"on_error": "'collect'"}
_AFTER_ITEMS = (
    RUN,
    LIST,
    FAILURES,
    (*FAILURES, "--json"),
    (*FAILURES, "--csv"),
    ("history", MIGRATION),
    ("batch", MIGRATION, "--retry-failed"),
)
_CURSOR = "def cursor(self, number): return f'{number}{EVIL}'"
_LOOKS = (
    ("batch", MIGRATION, "--dry-run"),
    ("batch", MIGRATION, "--rehearse", "--unguarded"),
    ("batch", MIGRATION, "--rehearse", "--unguarded", "--json"),
)
_OF_BATCH = {
    "the error of an item": Way(
        commands=_AFTER_ITEMS,
        batch={"body": "raise ValueError(EVIL)", **_COLLECTING},
        reaches=_SHOWN,
    ),
    "the errors of items side by side": Way(
        commands=_AFTER_ITEMS,
        batch={"body": "raise ValueError(EVIL)", "process": ASYNC, "workers": 2, **_COLLECTING},
        reaches=_SHOWN,
    ),
    "the cursor of an item": Way(
        commands=_AFTER_ITEMS,
        batch={"body": "raise ValueError", "methods": _CURSOR, **_COLLECTING},
        reaches=_SHOWN,
    ),
    "the name of an item": Way(
        commands=(*_LOOKS, RUN),
        batch={
            "body": "self.log.info('done')",
            "methods": "def describe(self, number): return f'{number}{EVIL}'",
        },
        reaches=_SHOWN,
    ),
    "a line that an item logs": Way(batch={"body": "self.log.info(EVIL)"}, reaches=_SHOWN),
    "an outcome": Way(
        commands=(*_LOOKS, RUN, LIST, ("migrate", "--list", "--json"), ("history", MIGRATION)),
        batch={"methods": "def process(self, number): return EVIL"},
        reaches=_SHOWN,
    ),
    "a target": Way(
        commands=(RUN, *READING, FAILURES, (*FAILURES, "--csv"), ("history", MIGRATION)),
        batch={"targets": "'SHOP_TARGETS'", "body": "raise ValueError(self.target)", **_COLLECTING},
        environment={"SHOP_TARGETS": f"PRD-1,{_NAME}"},
        reaches=_SHOWN,
    ),
    "an error of a rehearsal": Way(
        commands=_LOOKS, batch={"body": "raise ValueError(EVIL)"}, reaches=_SHOWN
    ),
    "a number of items": Way(batch={"methods": "def count(self): return EVIL"}, reaches=_SHOWN),
    "what is counted": Way(
        batch={"methods": "def count(self): raise ValueError(EVIL)"}, reaches=_SHOWN
    ),
    "what is verified": Way(
        commands=(RUN, ("migrate", "--fake", MIGRATION), ("verify",), ("verify", "--json")),
        batch={"methods": "def verify(self): raise ValueError(EVIL)"},
        reaches=_SHOWN,
    ),
    "what is required": Way(
        commands=(("migrate", "--check"), RUN, LIST),
        batch={"requires": f"({_NAME!r},)"},
        reaches=_SHOWN,
    ),
}
_TYPED = (
    ("migrate", "--data", _NAME),
    ("migrate", "--fake", _NAME),
    ("migrate", "--new-data", _NAME),
    ("migrate", "--data", "--folder", _NAME),
    ("migrate", _NAME, _NAME),
    (f"--{_NAME}",),
    (_NAME,),
    ("batch", _NAME),
    ("batch", MIGRATION, "--target", _NAME),
    ("history", _NAME),
    ("history", "--since", _NAME),
    ("failures", _NAME),
    ("pending", "--type", _NAME),
    ("verify", _NAME),
)
_AIRTABLE = {
    "STORAGE_TYPE": "airtable",
    "AIRTABLE_API_KEY": "patZYX.9876543210",
    "STORAGE_AIRTABLE_BASE_ID": "appX",
    "STORAGE_AIRTABLE_ENDPOINT_URL": "http://127.0.0.1:1",
    "STORAGE_AIRTABLE_RETRY_SECONDS": "0",
}
_FAULTY_SETTINGS = {
    "the type of a store": {"STORAGE_TYPE": _NAME},
    "a limit": {"DATA_TIME_LIMIT": _NAME},
    "a folder": {"MPT_TOOL_FOLDER": _NAME},
    "an address": {**_AIRTABLE, "STORAGE_AIRTABLE_ENDPOINT_URL": _NAME},
}
_OF_SETTINGS = (
    {
        f"an argument: {' '.join(typed).replace(_NAME, '…')}": Way(
            commands=(typed,), batch={"body": "pass"}, reaches=_SHOWN
        )
        for typed in _TYPED
    }
    | {
        f"a setting: {name}": Way(
            commands=(RUN, LIST, ("migrate", "--list", "--json")),
            script="pass",
            environment=environment,
            reaches=_SHOWN,
        )
        for name, environment in _FAULTY_SETTINGS.items()
    }
    | {
        "the version of the service": Way(
            commands=(RUN, *READING, ("history", "first")),
            script="pass",
            environment={"SERVICE_VERSION": _NAME, "LOGNAME": _NAME},
            reaches=_SHOWN,
        ),
        "the name of a script": Way(
            commands=(RUN, *READING), files={f"migrations/1_{_FILE}.py": ""}, reaches="\\x1b"
        ),
        "a script that cannot be parsed": Way(
            commands=(RUN, *READING),
            files={"migrations/1_first.py": f"raise \x1b[2J\u202e {FORGED}"},
            reaches="1_first.py",
        ),
        "a line of a script": Way(
            files={
                "migrations/1_first.py": f"{HELPERS}raise ValueError('\x1b[2J\x9b31m\u202e', EVIL)"
            },
            reaches=_SHOWN,
        ),
        "`pyproject.toml`": Way(
            commands=(LIST,),
            files={"pyproject.toml": f"[tool.mpt-tool]\n{json.dumps(_NAME)} = 1"},
            reaches=_SHOWN,
        ),
        "a `pyproject.toml` that cannot be read": Way(
            commands=(LIST,),
            files={"pyproject.toml": f"[tool.mpt-tool]\n\x1b[2J{FORGED}"},
            reaches="line 2",
        ),
    }
)
_EVIL_ATTEMPT = {
    "migration_id": EVIL,
    "order_id": 1,
    "type": "data",
    "outcome": "failed",
    "run_id": EVIL,
    "started_at": _MOMENT,
    "ended_at": _MOMENT,
    "checksum": EVIL,
    "user": EVIL,
    "host": EVIL,
    "process": 1,
    "version": EVIL,
    "tool_version": EVIL,
    "outcomes": {EVIL: 1},
    "counts": {EVIL: 1},
    "error": {"kind": EVIL, "message": EVIL, "frames": [EVIL]},
}
_CHECKPOINT = {
    "cursor": EVIL,
    "processed": 1,
    "failed": 1,
    "since": _MOMENT,
    "outcomes": {EVIL: 1},
    "steps": [{"key": EVIL}],
}
_EVIL_RUN: Mapping[str, Any] = {"started_at": _MOMENT, "version": EVIL, "checkpoint": _CHECKPOINT}
_EVIL_FAILURE = {
    "run_id": "1",
    "migration_id": MIGRATION,
    "since": _MOMENT,
    "first": 0,
    "failed": [{"cursor": EVIL, "error": EVIL}],
}
_HELD = {"order_id": 0, "started_at": "2026-01-01T00:00:00+00:00", "type": "data"}
_OF_OTHERS = {
    "a record": Way(
        commands=(*READING, RUN),
        script="pass",
        files={STATE_FILE: json.dumps({EVIL: record(EVIL, **_EVIL_RUN)})},
        reaches=_SHOWN,
    ),
    "a record of a batch migration": Way(
        commands=(LIST, FAILURES, (*FAILURES, "--csv"), ("batch", MIGRATION, "--dry-run"), RUN),
        batch={"body": "pass"},
        files={
            STATE_FILE: json.dumps({MIGRATION: record(MIGRATION, order_id=1, **_EVIL_RUN)}),
            HISTORY_FILE: json.dumps(_EVIL_FAILURE),
        },
        reaches=_SHOWN,
    ),
    "a record of targets": Way(
        commands=(LIST, ("migrate", "--list", "--json"), ("pending",), RUN, FAILURES),
        batch={"targets": f"({_NAME!r},)"},
        files={
            STATE_FILE: json.dumps(
                {MIGRATION: record(MIGRATION, order_id=1, targets={_NAME: _EVIL_RUN})}
            ),
            HISTORY_FILE: json.dumps({**_EVIL_FAILURE, "target": _NAME}),
        },
        reaches=_SHOWN,
    ),
    "a record that is none": Way(
        commands=READING,
        script="pass",
        files={STATE_FILE: json.dumps({EVIL: EVIL})},
        reaches=_SHOWN,
    ),
    "an attempt": Way(
        commands=(("history",), ("history", "--json"), ("history", "--failed"), ("pending",)),
        script="pass",
        files={HISTORY_FILE: f"{json.dumps(_EVIL_ATTEMPT)}\n"},
        reaches=_SHOWN,
    ),
    "an attempt in full": Way(
        commands=(("history", "first"), ("history", "first", "--json")),
        script="pass",
        files={HISTORY_FILE: f"{json.dumps({**_EVIL_ATTEMPT, 'migration_id': 'first'})}\n"},
        reaches=_SHOWN,
    ),
    "a row": Way(
        commands=(*READING, RUN),
        script="pass",
        rows=[{"migration_id": EVIL, "order_id": 1, "type": "data"}],
        reaches=_SHOWN,
    ),
    "a row that is no record": Way(
        commands=(LIST, ("migrate", "--list", "--json"), RUN),
        script="pass",
        rows=[{"migration_id": EVIL}],
        reaches="no record",
    ),
    "a holder": Way(
        commands=(RUN, ("unlock", "another")),
        script="pass",
        rows=[{"migration_id": f"lock:web{EVIL}:1:a", **_HELD}],
        reaches=_SHOWN,
    ),
    "an error of a store": Way(
        commands=(RUN, LIST, ("migrate", "--init"), ("history", "--json"), ("unlock", "?")),
        script="pass",
        refusal={"error": {"type": EVIL, "message": EVIL}},
        reaches=_SHOWN,
    ),
}
WAYS: Mapping[str, Way] = {
    **{name: Way(script=script, reaches=_SHOWN) for name, script in _RAISED.items()},
    **_OF_BATCH,
    **_OF_SETTINGS,
    **_OF_OTHERS,
}


def short_ways(every: int) -> Mapping[str, Way]:
    """Return what scripts raise as items of one migration, and every so many of the other ways."""
    items = {name: script for name, script in _RAISED.items() if name not in _ENDS_THE_RUN}
    others = {name: way for name, way in WAYS.items() if name not in items}
    return ways.in_short(items, others, every)


def figures(
    folder: Path,
    outputs: Sequence[str],
    afterwards: Sequence[Sequence[str]] = (),
    ways_gone: Mapping[str, Way] = WAYS,
) -> Iterator[Figure]:
    """Yield a figure for each output.

    Args:
        folder: where the projects are made.
        outputs: where the commands write.
        afterwards: commands that follow those of each way.
        ways_gone: by name.
    """
    for output in outputs:
        chosen = {name: way for name, way in ways_gone.items() if output != STORE or way.runs}
        yield Figure(
            f"Text of others on its way to {output}",
            f"{len(chosen)} ways",
            _KINDS,
            ways.faults(folder, chosen, output, HELPERS, {}, {}, _judge, afterwards),
        )


def effects_of(text: str) -> Iterator[str]:
    """Yield how a text moves a cursor, turns text about, or has a line that passes for ours."""
    moving = {c for c in text if unicodedata.category(c) in _INVISIBLE} - {"\n"}
    if moving:
        yield STEERS
    if FORGED in text.splitlines():
        yield FORGES


def _judge(name: str, way: Way, written: Written) -> Iterator[Fault]:
    for command, texts in written.shown.items():
        for text in texts:
            plain = _OUR_OWN.sub("", text).replace("\r\n", "\n")
            for kind in effects_of(plain):
                yield Fault(kind, f"{name}: {command!r}: {plain!r}")
        if TERMINAL not in name and not _is_whole(command, texts[0]):
            yield Fault(BROKEN, f"{name}: {command!r}: {texts[0]!r}")
    if not any(way.reaches in text.replace("\\\\", "\\") for text in written.texts):
        yield Fault(UNREACHED, f"{name}: {written}")


def _is_whole(command: str, text: str) -> bool:
    """Whether a document is one, if the command writes one."""
    if "--csv" in command:
        return len({len(row) for row in csv.reader(io.StringIO(text))}) <= 1
    if "--json" not in command:
        return True
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
