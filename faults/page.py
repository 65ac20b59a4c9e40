"""``python -m faults.page``: what runs of the laboratory have come to, from their records in ``results/``, as a page.

Each run is a folder: ``gradstream chaos broker --out faults/results/broker``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.__main__ import ORDER

RESULTS = Path(__file__).parent / "results"
SUMMARY, PAGE = "faults.json", "README.md"
TOP = """\
# What the laboratory has shown

Made by `python -m faults.page` from the records in this folder: each run's `faults.json` holds the sums and the machine, `faults.jsonl` each
attempt with its seed, phase and place. What is promised, and what is not, is told in [docs/reliability.md](../../docs/reliability.md).

*As meant*: the process was alive, had work that was not committed, and went down as it should; only these count. *Hash*: runs that
ended at the weights of a run that nobody touched, to the bit. *Restart*: seconds from the start of a successor to its first commit,
without the import of a framework.
"""
HEAD = """\
| scenario | tried | as meant | failed | lost | twice | torn | hash | restart, median ≤ longest |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def runs(folder: Path) -> list[dict[str, Any]]:
    """The summaries of all runs, in the order in which the laboratory has its scenarios."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"*/{SUMMARY}"))]
    return sorted(found, key=lambda run: min(map(place, run["scenarios"]), default=len(ORDER)))


def place(scenario: Mapping[str, Any]) -> int:
    name = scenario["scenario"]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def page(summaries: list[dict[str, Any]]) -> str:
    """In Markdown."""
    scenarios = [scenario for run in summaries for scenario in run["scenarios"]]
    parts = [TOP, HEAD + "\n".join(map(line, scenarios)) + "\n"]
    parts += ["".join(story(scenario)) for scenario in scenarios]
    parts += ["## Machines\n\n" + "\n".join(dict.fromkeys(map(machine, summaries))) + "\n"]
    return "\n".join(parts)


def line(scenario: Mapping[str, Any]) -> str:
    same, of = scenario["runs_at_the_expected_hash"], scenario["runs"]
    median, longest = scenario["restart_median_seconds"], scenario["restart_longest_seconds"]
    cells = [
        f"[{scenario['scenario']}](#{scenario['scenario']})",
        scenario["attempts"],
        f"{scenario['counted']} of {scenario['planned']}",
        scenario["failed"],
        *(scenario[kind] if of else "–" for kind in ("lost", "repeated", "torn")),
        f"{same} of {of}" if of else "–",
        "–" if median is None else f"{median:.1f} ≤ {longest:.1f} s",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def story(scenario: Mapping[str, Any]) -> Iterator[str]:
    """What was asked, what happened to whom and where, and each fault in its own words."""
    question = scenario["question"]
    yield f"## {scenario['scenario']}\n\n{question[0].upper()}{question[1:]}\n\n"
    for kind in ("by_subject", "by_phase"):
        counts = ", ".join(f"{name} {count}" for name, count in scenario[kind].items())
        yield f"- {kind.replace('_', ' ')}: {counts or 'nothing'}\n"
    yield f"- {scenario['seconds'] / 60:.0f} minutes{'' if scenario['finished'] else ', broken off'}\n"
    yield from (f"- **failed**: {fault}\n" for fault in scenario["faults"])


def machine(run: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"- {run['time'][:10]}: {run['processor']}, {run['cores']} cores, {run['memory_gib']} GiB, "
        f"{run['system']}, Python {run['python']}, {versions}"
    )


def main() -> None:
    (RESULTS / PAGE).write_text(page(runs(RESULTS)))


if __name__ == "__main__":
    main()
