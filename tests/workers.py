"""Which tests share a worker where several run side by side (``pytest -n 3``), and which begin first.

Tests of a file share fixtures, tests of a framework its seconds of loading and compiling, so they stay together. xdist's
own groups do not work with pytest 9.2 (pytest-dev/pytest-xdist#1386).
"""

from __future__ import annotations

import re
from typing import Any

import pytest

APART = re.compile(r"\[(?:.*-)?(jax|tensorflow|torch|README\.md|docs/training\.md)(?:-.*)?\]$")
# The longest, so that none of them begins when the other workers have little left to do.
FIRST = """
    docs/training.md tensorflow jax tests/trainers/test_training.py tests/acceptance/test_bad_input.py README.md
    tests/trainers/test_models_on_topic.py tests/trainers/test_backends.py tests/engine/test_engine.py
    tests/wire/test_reader.py tests/stack/test_local_stack.py tests/acceptance/test_interrupts.py
    tests/trainers/test_aborts.py tests/trainers/test_plug_ins.py tests/wire/test_rebalance.py
""".split()


def group(test: str) -> str:
    """Of a test's id: its framework, the page that it runs, or its file."""
    found = APART.search(test)
    return found[1] if found else test.partition("::")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        rank = {name: place for place, name in enumerate(FIRST)}
        items.sort(key=lambda item: rank.get(group(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist's, in our groups and in the order in which the workers have them."""
    if config.option.dist != "load":  # somebody wants another
        return None
    from xdist.scheduler import LoadScopeScheduling

    scheduling = LoadScopeScheduling(config, log)
    config.option.loadscopereorder = False
    scheduling._split_scope = group
    return scheduling
