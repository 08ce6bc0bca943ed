"""What MkDocs calls while it builds the site: puts in what is made from the code and elsewhere."""

import os
import re
from pathlib import Path

from generated import filled
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_REPOSITORY = Path(__file__).parents[1]
# A link of a file in the repository's root to a page.
_LINK = re.compile(r"\]\(docs/")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository that the site is built in, where a pipeline says which it is."""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if server and name:
        config.repo_url, config.repo_name = f"{server}/{name}", name
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make a page of the changelog, which is kept in the repository's root."""
    text = (_REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=_LINK.sub("](", text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the parts that a page asks for."""
    return filled(markdown)
