"""The report: a page, or Markdown, for people who do not have the command line."""
