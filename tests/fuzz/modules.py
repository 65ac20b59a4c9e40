"""Which modules of gradstream.wire hold functions that Numba compiles: neither atheris nor fenced arrays can enter them."""

from __future__ import annotations

from pathlib import Path

WIRE = Path(__file__).parents[2] / "gradstream" / "wire"
MARKS = ("@compiled(", "@njit")


def all_modules() -> list[str]:
    return sorted(f"gradstream.wire.{path.stem}" for path in WIRE.glob("[a-z]*.py"))


def compiled_modules() -> list[str]:
    texts = {
        name: Path(WIRE, f"{name.rpartition('.')[2]}.py").read_text() for name in all_modules()
    }
    return [name for name, text in texts.items() if any(mark in text for mark in MARKS)]
