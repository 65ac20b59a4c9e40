"""Tests of payments.sql and of a model on what it makes: ``pytest`` in this folder runs them."""

from __future__ import annotations

import pytest

from gradstream.errors import UnavailableError
from gradstream.testing import Pipeline

PAYMENTS = [
    {"ID": 1, "NAME": "Hans Meier", "AMOUNT": 149.62, "CLASS": "0"},
    {"ID": 2, "NAME": "Anna Koch", "AMOUNT": 2.69},
    {"ID": 3, "NAME": "Mia Wolf", "AMOUNT": 9000, "CLASS": "1"},
]


def test_names_are_masked_and_rows_without_a_class_dropped(gradstream: Pipeline) -> None:
    gradstream.sql("payments.sql")
    gradstream.produce("payments", PAYMENTS)
    assert gradstream.rows("payments_training") == [
        {"NAME": "Xxxx-Xxxxx", "AMOUNT": 149.62, "CLASS": "0"},
        {"NAME": "Xxx-Xxxx", "AMOUNT": 9000.0, "CLASS": "1"},
    ]


def test_a_model_learns_that_large_payments_are_frauds(gradstream: Pipeline) -> None:
    gradstream.sql("payments.sql")
    gradstream.produce("payments", PAYMENTS * 50)
    result, records = gradstream.train("payments_training", "CLASS", model="logistic", learning_rate=1e-4, batch_size=10)  # fmt: skip
    assert result.trained == 100
    assert result.weights["AMOUNT"] > 0
    assert records[-1].step == 10


def test_what_does_not_come_is_told(gradstream: Pipeline) -> None:
    gradstream.sql("payments.sql")
    gradstream.produce("payments", ["one,Hans Meier,149.62,0"])  # text is sent as it is
    with pytest.raises(UnavailableError, match="MISSING_ROWS: 0 of 1 rows"):
        gradstream.rows("payments_training", count=1, timeout=2)
