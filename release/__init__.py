"""Says whether the wheel and the sdist may be released; `nox -s build` makes both."""
