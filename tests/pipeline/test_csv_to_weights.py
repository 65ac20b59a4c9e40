"""A user's own file: CSV → Kafka → KSQL → trainer by three commands, ending where scikit-learn does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from gradstream.config import Services
from tests.acceptance.command_line import User

pytestmark = pytest.mark.integration


def run(user: User, *words: str) -> str:
    """Standard output of a command that must succeed."""
    ended = user.run(*words, seconds=120)
    assert ended.code == 0, ended
    return ended.out


def test_diabetes_ends_where_linear_regression_does(
    services: Services, unique: Callable[[str], str], tmp_path: Path
) -> None:
    data = load_diabetes(scaled=False)
    features = StandardScaler().fit_transform(data.data)
    lines = [",".join([*data.feature_names, "progression"])]
    for number, (row, target) in enumerate(zip(features, data.target, strict=True)):
        lines.append(",".join(map(repr, [*row.tolist(), float(target)])))
        if number % 50 == 0:  # a patient without a target, who must be dropped
            lines.append(",".join([*map(repr, row.tolist()), ""]))
    table, statements = tmp_path / "diabetes.csv", tmp_path / "diabetes.sql"
    table.write_text("\n".join(lines) + "\n")
    user, topic, name = User(services, tmp_path), unique("diabetes"), unique("run")

    run(user, "produce", "csv", str(table), "--topic", topic, "--target", "progression", "--sql", str(statements))  # fmt: skip
    run(user, "sql", str(statements), "--wait")
    run(user, "train", "--source", f"{topic}_training", "--target", "PROGRESSION", "--run", name, "--batch-size", "full", "--learning-rate", "0.2", "--epochs", "20000", "--features", ",".join(n.upper() for n in data.feature_names))  # fmt: skip
    shown = run(user, "weights", "--run", name, "--json")

    newest = json.loads(shown.splitlines()[-1])
    learned = np.array(newest["tensors"]["w"])
    exact = LinearRegression().fit(features, data.target)
    assert newest["records_trained"] == 20_000 * len(features)
    assert np.allclose(learned, [exact.intercept_, *exact.coef_], atol=1e-6)
