"""The same without pytest: a stack for the class, a pipeline for each test."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import TestCase

from gradstream.stack import LocalStack
from gradstream.testing import Pipeline

HERE = Path(__file__).parent


class PaymentsTest(TestCase):
    stack: LocalStack

    @classmethod
    def setUpClass(cls) -> None:
        folder = cls.enterClassContext(TemporaryDirectory())
        cls.stack = cls.enterClassContext(LocalStack(Path(folder)))

    def test_rows_without_a_class_are_dropped(self) -> None:
        with Pipeline(self.stack.services) as pipeline:
            pipeline.sql(HERE / "payments.sql")
            pipeline.produce("payments", ["1,Hans,2.5,0", "2,Anna,2.5,"])
            assert len(pipeline.rows("payments_training")) == 1
