"""Lets pytest show what a failing test of the contract suite compared."""

import pytest

pytest.register_assert_rewrite("mpt_tool.testing")
