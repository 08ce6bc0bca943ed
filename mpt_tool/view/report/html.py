"""The report as one page that needs nothing from anywhere, and never grows above a size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from string import Template

from mpt_tool.records import Attempt, ErrorReport, FailedItem, RunRecord
from mpt_tool.scripts.plan import Entry, of_targets, pending
from mpt_tool.view.report.activity import activity_chart, run_lanes
from mpt_tool.view.report.contents import (
    Case,
    cases,
    chain,
    headline,
    last_note,
    made_by,
    moment_of,
    runs,
    said,
    statuses_of,
)
from mpt_tool.view.report.marks import Marks, moment, text
from mpt_tool.view.results import Report
from mpt_tool.wording import as_text, duration, in_items, in_outcomes, name_of, shortened, timestamp

# In bytes: the whole page, and what each list but the last may take of it.
LARGEST_PAGE = 1_000_000
_ROOM = 150_000
_RUNS = 10
_LONGEST_ERROR = 2_000
_LONGEST_CHAIN = 20
_MOST_ITEMS = 20
_NOTE_LENGTHS = (20, 300)
# What a row of the history takes, beside its note.
_ROW_SIZE = 160


@dataclass(frozen=True, slots=True)
class _List:
    """Rows of HTML that have room, and how many have not."""

    rows: Sequence[str]
    left_out: int


def page(report: Report) -> str:
    """Return the page, of `LARGEST_PAGE` bytes at most."""
    marks = Marks(
        [entry.type for entry in report.entries] + [each.type for each in report.attempts],
        [
            *(entry.state for entry in report.entries),
            *(each.outcome for each in report.attempts),
            *(case.state for case in cases(report)),
        ],
    )
    title = f"Migrations of {report.project}"
    parts = [_cards(report, marks), _cases(report, marks), _pending(report)]
    parts += ["".join(f"<p>Note: {text(note)}.</p>\n" for note in report.notes)]
    if report.entries or report.attempts:
        parts += [_filters(marks), '<div id="lists">', _timeline(report, marks)]
        parts += [_migrations(report.entries, marks)]
    told = {
        "title": text(title),
        "generator": text(report.tool),
        "headline": text(headline(report)),
        "iso": report.made_at.isoformat(),
        "made_at": timestamp(report.made_at),
        "style": f"{_file('page.css')}{marks.style()}",
    }
    template = Template(_file("page.html"))
    room = LARGEST_PAGE - _size(template.substitute(told, main="\n".join(parts)))
    parts += [_history(report.attempts, marks, room)] if report.attempts else []
    parts += ["</div>"] if report.entries or report.attempts else []
    return template.substitute(told, main="\n".join(filter(None, parts)))


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _size(markup: str) -> int:
    return len(markup.encode())


def _fitting(rows: Iterable[str], count: int, room: int) -> _List:
    """Return the rows, of so many in all, that have room in so many bytes."""
    kept = []
    for row in rows:
        room -= _size(row) + 1
        if room < 0:
            break
        kept.append(row)
    return _List(kept, count - len(kept))


def _cards(report: Report, marks: Marks) -> str:
    """Return how many migrations are in each status."""
    cards = (
        f'<div class="card {marks.of_status(status)}"><b>{count:,}</b> {text(status)}</div>'
        for status, count in statuses_of(report.entries).items()
    )
    return f'<div class="cards">{"".join(cards)}</div>' if report.entries else ""


def _cases(report: Report, marks: Marks) -> str:
    """Return what failed, was stopped or runs, and why."""
    found = cases(report)
    if not found:
        return ""
    items = (_case(case, report.failures.get(case.entry.name, ()), marks) for case in found)
    shown = _fitting(items, len(found), _ROOM)
    more = f"<p>And {shown.left_out:,} more.</p>" if shown.left_out else ""
    return _section("attention", "Needs attention", "\n".join((*shown.rows, more)))


def _case(case: Case, failures: Sequence[FailedItem], marks: Marks) -> str:
    attempt, entry = case.attempt, case.entry
    state, known = case.state, filter(None, (entry.in_targets, *entry.notes))
    notes = [text(note) for note in known]
    if attempt and (when := moment_of(attempt)):
        took = "" if attempt.seconds is None else f", for {duration(attempt.seconds)}"
        version = f", version {attempt.version}" if attempt.version else ""
        notes.insert(0, f"{moment(when)} by {text(made_by(attempt))}{text(version + took)}")
    lines = [
        f'<article class="case {marks.of_status(state)}">',
        f'<h3>{text(entry.name)} <span class="badge {marks.of_status(state)}">{state}</span></h3>',
        f'<p class="muted">{"; ".join(notes)}</p>' if notes else "",
        _error(chain(attempt.error)) if attempt else "",
        _failed_items(failures),
        "</article>",
    ]
    return "\n".join(filter(None, lines))


def _error(errors: Sequence[ErrorReport]) -> str:
    """Return the root cause, and what it led to: what was raised first comes last."""
    if not errors:
        return ""
    *_, root = errors
    where = f"\n<code>{text(root.frames[-1])}</code>" if root.frames else ""
    cause = f'<p class="cause"><b>{_message(root)}</b>{where}</p>'
    if len(errors) == 1 and len(root.frames) < 2:
        return cause
    half = _LONGEST_CHAIN // 2
    kept = errors if len(errors) <= _LONGEST_CHAIN else [*errors[:half], *errors[-half:]]
    steps = "".join(
        f"<li>{'Caused by ' if number else ''}{_message(each)}{_frames(each)}</li>"
        for number, each in enumerate(kept)
    )
    summary = "<summary>The whole chain of causes</summary>"
    return f'{cause}\n<details>{summary}<ol class="chain">{steps}</ol></details>'


def _message(error: ErrorReport) -> str:
    return text(shortened(said(error), _LONGEST_ERROR), keeps_lines=True)


def _frames(error: ErrorReport) -> str:
    lines = "\n".join(text(shortened(frame, _LONGEST_ERROR)) for frame in error.frames)
    return f"<pre>{lines}</pre>" if lines else ""


def _failed_items(items: Sequence[FailedItem]) -> str:
    if not items:
        return ""
    rows = "".join(
        f"<li><code>{text(as_text(each.cursor))}</code>: "
        f"{text(shortened(each.error, _LONGEST_ERROR))}</li>"
        for each in items[:_MOST_ITEMS]
    )
    more = len(items) - _MOST_ITEMS
    rows += f"<li>and {more:,} more</li>" if more > 0 else ""
    summary = f"{in_items(len(items))} failed"
    return f'<details><summary>{summary}</summary><ul class="chain">{rows}</ul></details>'


def _pending(report: Report) -> str:
    """Return what a run would run, in that order."""
    found = pending(report.entries)
    if not found:
        return ""
    rows = (
        f"<tr><th scope=row>{text(each.name)}<td>{text(each.type or '-')}<td>{text(each.state)}"
        f"<td>{text('; '.join(filter(None, (each.in_targets, *each.notes))))}"
        for each in found
    )
    shown = _fitting(rows, len(found), _ROOM)
    return _table("pending", "Pending, in order", ("Migration", "Type", "Status", "Note"), shown)


def _filters(marks: Marks) -> str:
    """Return the boxes that choose which rows are shown, by type and by status."""
    fieldsets = (
        f"<fieldset><legend>{legend}</legend>{boxes}</fieldset>"
        for legend, boxes in (
            ("Type", _boxes(marks.types)),
            ("Status", _boxes(marks.statuses)),
        )
    )
    return f'<section class="filters" aria-label="Filters">{"".join(fieldsets)}</section>'


def _boxes(names: "dict[str, str]") -> str:
    return "".join(
        f'<label><input type="checkbox" id="{mark}" autocomplete="off" checked>'
        f" {text(name)}</label>"
        for name, mark in names.items()
    )


def _timeline(report: Report, marks: Marks) -> str:
    """Return when runs were made, and what each of the newest ones did."""
    chart = activity_chart(report.attempts, report.made_at, marks)
    if not chart:
        return ""
    newest = list(islice(runs(report.attempts), _RUNS))
    shown = _fitting((run_lanes(run, marks) for run in newest), len(newest), _ROOM)
    of_newest = f'<p class="muted">The {len(shown.rows)} newest runs:</p>' if newest[1:] else ""
    lanes = f'{of_newest}<ol class="runs">{"".join(shown.rows)}</ol>'
    return _section("timeline", "Timeline", f"{chart}\n{lanes}")


def _migrations(entries: Sequence[Entry], marks: Marks) -> str:
    """Return all migrations, in order."""
    columns = ("Order", "Migration", "Type", "Status", "Started", "Applied", "Took", "Version")
    rows = (_migration(entry, marks) for entry in entries)
    shown = _fitting(rows, len(entries), _ROOM)
    classes = {marks.of(entry.type, entry.state) for entry in entries}
    table = _table("migrations", "All migrations", (*columns, "Note"), shown, _none(classes, marks))
    return table if entries else ""


def _migration(entry: Entry, marks: Marks) -> str:
    record = entry.record or RunRecord()
    return (
        f'<tr class="{marks.of(entry.type, entry.state)}"><td>{entry.order_id}'
        f"<th scope=row>{text(entry.migration_id)}<td>{text(entry.type or '-')}"
        f"<td class=state>{entry.state}<td>{moment(record.started_at)}"
        f"<td>{moment(record.applied_at)}"
        f"<td>{'' if entry.seconds is None else duration(entry.seconds)}"
        f"<td>{text(record.version or '')}<td>{_notes(entry)}"
    )


def _notes(entry: Entry) -> str:
    notes = text("; ".join(filter(None, (*entry.notes, in_outcomes(entry.outcomes)))))
    targets = list(of_targets(entry))
    if not targets:
        return notes
    lines = "".join(f"<li>{text(_target(each))}</li>" for each in targets)
    summary = entry.in_targets or f"{len(targets):,} {'targets' if targets[1:] else 'target'}"
    return f"{notes}<details><summary>{summary}</summary><ul>{lines}</ul></details>"


def _target(entry: Entry) -> str:
    applied = entry.record and entry.record.applied_at
    when = f" {timestamp(applied)}" if applied else ""
    return f"{entry.target}: {'; '.join((f'{entry.state}{when}', *entry.notes))}"


def _history(attempts: Sequence[Attempt], marks: Marks, room: int) -> str:
    """Return all attempts that have room, the newest first."""
    least, most = _NOTE_LENGTHS
    length = min(max(least, room // len(attempts) - _ROW_SIZE), most)
    rows = (_attempt(each, marks, length) for each in attempts)
    # Some is for what is around them.
    shown = _fitting(rows, len(attempts), room - 5_000)
    columns = ("Started", "Migration", "Type", "Outcome", "Took", "By", "Version", "Note")
    classes = {marks.of(each.type, each.outcome) for each in attempts}
    table = _table("history", "History, newest first", columns, shown, _none(classes, marks))
    if not shown.left_out:
        return table
    left = f"{shown.left_out:,} older attempts have no room here: mpt-tool history shows them."
    return f'{table}<p class="muted">{left}</p>'


def _attempt(attempt: Attempt, marks: Marks, note_length: int) -> str:
    name = name_of(attempt.migration_id, attempt.target or "")
    when = moment_of(attempt)
    return (
        f'<tr class="{marks.of(attempt.type, attempt.outcome)}">'
        f"<td>{timestamp(when) if when else '-'}<th scope=row>{text(name)}<td>{attempt.type}"
        f"<td>{attempt.outcome}<td>{'-' if attempt.seconds is None else duration(attempt.seconds)}"
        f"<td>{text(made_by(attempt))}<td>{text(attempt.version or '')}"
        f"<td>{text(shortened(last_note(attempt), note_length))}"
    )


def _none(classes: Iterable[str], marks: Marks) -> str:
    """Return what is said where the filters leave no row of these classes."""
    return f'<p class="none {" ".join(map(marks.pair, sorted(classes)))}">No row is left.</p>'


def _section(name: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{content}\n</section>'


def _table(name: str, title: str, columns: Sequence[str], shown: _List, below: str = "") -> str:
    """Return a section of a table; one that is too wide is scrolled within it."""
    head = "".join(f"<th scope=col>{column}" for column in columns)
    body = "\n".join(shown.rows)
    more = f'<p class="muted">And {shown.left_out:,} more.</p>' if shown.left_out else ""
    table = (
        f'<div class="scroll" tabindex="0" role="group" aria-labelledby="{name}">'
        f"<table class={name}><caption>{title}</caption><thead><tr>{head}</thead>"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
    return _section(name, title, f"{table}{below}{more}")
