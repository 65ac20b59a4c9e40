"""Integration tests of one's own: topics, SQL and a trainer on real parts, with pytest or without.

    def test_payments_are_masked(gradstream):
        gradstream.sql("payments.sql")
        gradstream.produce("payments", [{"ID": 1, "NAME": "Hans"}])
        assert gradstream.rows("masked") == [{"ID": 1, "NAME": "Xxxx"}]

The fixture ``gradstream`` comes with the package, as a plugin of pytest; it yields a Pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradstream.testing.pipeline import Pipeline

__all__ = ["Pipeline"]


def __getattr__(name: str) -> object:
    # pytest imports this module in every run, also where no test needs more than that.
    if name == "Pipeline":
        from gradstream.testing.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
