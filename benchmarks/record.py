"""What a run has measured, as JSON: everything that a page says can be made from it alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure


@dataclass(slots=True)
class Record:
    """One run.

    Attributes:
        machine: see benchmarks.machine.
        quick: whether it only shows that everything works.
        questions: of each file, by its name.
        seconds: that each file took.
        figures: of each file.
        failed: why a file has no figures.
    """

    machine: dict[str, Any]
    quick: bool
    questions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, list[Figure]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether everything was measured, and every goal reached."""
        found = (each.reached for figures in self.figures.values() for each in figures)
        return not self.failed and all(found)

    def write(self, path: Path) -> None:
        figures = {name: [each.record() for each in found] for name, found in self.figures.items()}
        told = {
            "machine": self.machine,
            "quick": self.quick,
            "questions": self.questions,
            "seconds": self.seconds,
            "failed": self.failed,
            "figures": figures,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        told = json.loads(path.read_text())
        told["figures"] = {
            name: [Figure.of(each) for each in found] for name, found in told["figures"].items()
        }
        return cls(**told)
