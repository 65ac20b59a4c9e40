"""Which tests share a worker where several run side by side (``pytest -n 3``), and which begin first.

Tests of a file share fixtures, tests of a framework its seconds of loading and compiling, tests with containers their
images, so they stay together. xdist's own groups do not work with pytest 9.2 (pytest-dev/pytest-xdist#1386).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

APART = re.compile(
    r"\[(?:.*-)?(jax|tensorflow|torch|README\.md|docs/training\.md|docs/dead-letters\.md|docs/lineage\.md|docs/shell\.md)(?:-.*)?\]$"
)
TOGETHER = re.compile(r"tests/containers\b|[^:]*")
LONGEST = 40  # groups that are shown at the end with their seconds
# The longest, so that none of them begins when the other workers have little left to do.
FIRST = """
    tests/containers tests/wire/test_valgrind.py docs/training.md tests/faults/test_chaos.py tensorflow
    tests/trainers/test_training.py docs/dead-letters.md jax tests/engine/test_qtt.py tests/engine/test_qtt_rest.py
    tests/trainers/test_rebuild.py docs/lineage.md tests/trainers/test_models_on_topic.py
    tests/acceptance/test_bad_input.py tests/trainers/test_faults.py tests/trainers/test_aborts.py
    tests/faults/test_mutants.py tests/test_notebooks.py tests/engine/test_kills.py tests/wire/test_avro_properties.py
    tests/faults/test_judge.py tests/trainers/test_dlq.py tests/faults/test_canary.py tests/trainers/test_crashes.py
    tests/wire/test_avro_kernel.py tests/benchmarks/test_run.py tests/fuzz/test_fuzz.py tests/benchmarks/test_guard.py
    tests/testing/test_plugin.py README.md tests/trainers/test_lineage.py
    tests/trainers/test_backends.py tests/stack/test_local_stack.py tests/engine/test_engine.py docs/shell.md
    tests/wire/test_reader.py tests/wire/test_messages.py tests/testing/test_pipeline.py tests/acceptance/test_interrupts.py
    tests/wire/test_writer.py tests/wire/test_rebalance.py
    tests/producers/test_send.py tests/trainers/test_plug_ins.py tests/pipeline/test_golden.py
""".split()


def group(test: str) -> str:
    """Of a test's id: its framework, the page that it runs, or its file."""
    apart, together = APART.search(test), TOGETHER.match(test)
    return apart[1] if apart else together[0] if together else test


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The longest groups, which should stand in FIRST, and how long each worker waited for the last one at the end."""
    seconds, ended = Counter[str](), dict[str, float]()
    for report in (each for found in terminalreporter.stats.values() for each in found):
        if worker := getattr(report, "worker_id", None):
            seconds[group(report.nodeid)] += report.duration
            ended[worker] = max(ended.get(worker, 0.0), report.stop)
    if ended:
        terminalreporter.section("longest groups")
        for name, took in seconds.most_common(LONGEST):
            terminalreporter.write_line(f"{took:7.1f} s  {name}")
        for worker, end in sorted(ended.items()):
            idle = max(ended.values()) - end
            terminalreporter.write_line(f"{idle:7.1f} s  {worker} had nothing left to do")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker that has died tells by what, which xdist keeps to itself."""
    if error:
        process = node.gateway._io.popen
        try:
            told = f"ended with {process.wait(10)}"
        except subprocess.TimeoutExpired:
            told = "is still there, but no longer answers"
        sys.stderr.write(f"\nworker {node.gateway.id} (pid {process.pid}) {told}\n")
