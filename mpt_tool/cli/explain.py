"""`mpt-tool explain`: the causes of a failure that can have several, and what to do."""

import typer

from mpt_tool.cli.options import ANY, NO_COLOR, VERSION


def _topics(incomplete: str) -> list[str]:
    from mpt_tool.view.topics import topics

    return [each for each in topics() if each.startswith(incomplete)]


TOPIC = "what to explain; without it, all."


def explain(
    topic: str = ANY.argument("TOPIC", TOPIC, _topics, default=None),
    no_color: bool = NO_COLOR,
    version: bool = VERSION,
) -> None:
    """Explain a failure that can have several causes."""
    from mpt_tool.view.topics import topics
    from mpt_tool.wording import did_you_mean

    # As `demo` it is no command of a project: it works whatever is wrong with that.
    known = topics()
    if topic and topic not in known:
        hint = did_you_mean(topic, known) or f". Use one of {', '.join(known)}"
        raise typer.BadParameter(f"{topic!r} is no topic{hint}", param_hint="TOPIC")
    typer.echo("\n\n\n".join([known[topic]] if topic else known.values()))
