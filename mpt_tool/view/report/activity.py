"""When runs were made and how long what they did took, drawn without a script."""

from collections.abc import Sequence
from datetime import datetime

from mpt_tool.records import Attempt
from mpt_tool.view.report.contents import Run, activity, made_by, moment_of
from mpt_tool.view.report.marks import Marks, moment, text
from mpt_tool.wording import duration, name_of, timestamp

_HEIGHT = 100
_GAP = 0.15
_MOST_LANES = 100


def activity_chart(attempts: Sequence[Attempt], now: datetime, marks: Marks) -> str:
    """Return how many attempts were made when, by outcome; nothing if no time is known."""
    shown = activity(attempts, now)
    if shown is None:
        return ""
    tallest = max(span.total() for span in shown.spans)
    bars = []
    for number, span in enumerate(shown.spans):
        height = 0.0
        for outcome in filter(span.get, marks.statuses):
            count = span[outcome]
            size = _HEIGHT * count / tallest
            height += size
            bars.append(
                f'<rect class="{marks.of_status(outcome)}" x="{number + _GAP / 2}"'
                f' y="{_HEIGHT - height:.3f}" width="{1 - _GAP}" height="{size:.3f}">'
                f"<title>{timestamp(shown.start_of(number))}: {count:,} {outcome}</title></rect>"
            )
    title = f"Attempts, a bar for each {shown.unit_name}"
    total = sum(span.total() for span in shown.spans)
    label = f"{title}: {total:,} in all, {tallest:,} at most"
    return (
        f'<div class="activity"><p class="muted">{title}; the tallest stands for {tallest:,}</p>'
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {len(shown.spans)} {_HEIGHT}"'
        f' preserveAspectRatio="none">{"".join(bars)}</svg>'
        f'<p class="ends muted">{moment(shown.began)} <span>{moment(now)}</span></p></div>'
    )


def run_lanes(run: Run, marks: Marks) -> str:
    """Return a run: who made it, and a bar for each of its attempts."""
    first, *_ = run.attempts
    who = f"by {made_by(first)}" + (f", version {first.version}" if first.version else "")
    seconds = run.seconds
    pairs = sorted({marks.pair(marks.of(each.type, each.outcome)) for each in run.attempts})
    lanes = [_lane(each, run, marks) for each in run.attempts[:_MOST_LANES]]
    more = len(run.attempts) - _MOST_LANES
    lanes += [f"<li>and {more:,} more</li>"] if more > 0 else []
    return (
        f'<li class="run {" ".join(pairs)}"><header><h3>{moment(run.began) or "Unknown time"}</h3>'
        f'<p class="muted">{text(who)}; {run.outcomes}; {duration(seconds)}</p></header>'
        f'<ul class="lanes">{"".join(lanes)}</ul></li>\n'
    )


def _lane(attempt: Attempt, run: Run, marks: Marks) -> str:
    name = name_of(attempt.migration_id, attempt.target or "")
    began, whole = moment_of(attempt), run.seconds
    left, width, took = 0.0, 0.0, ""
    if began and run.began and whole:
        left = 100 * (began - run.began).total_seconds() / whole
        width = 100 * (attempt.seconds or 0) / whole
    elif attempt.seconds is not None:
        width = 100.0
    if attempt.seconds is not None:
        took = f", {duration(attempt.seconds)}"
    return (
        f'<li class="{marks.of(attempt.type, attempt.outcome)}"><span>{text(name)}</span>'
        f'<span class="track"><i style="--l:{left:.2f}%;--w:{width:.2f}%"></i></span>'
        f'<span class="took"><span>{attempt.outcome}</span>{took}</span></li>'
    )
