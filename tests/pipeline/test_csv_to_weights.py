"""A user's own file: CSV → Kafka → KSQL → trainer by three commands, ending where scikit-learn does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from gradstream.config import Services

pytestmark = pytest.mark.integration


def gradstream(services: Services, cwd: Path, *words: str) -> str:
    """A command as a user runs it; its standard output."""
    environment = os.environ | {
        "GRADSTREAM_BOOTSTRAP_SERVERS": services.bootstrap_servers,
        "GRADSTREAM_SCHEMA_REGISTRY_URL": services.schema_registry_url,
        "GRADSTREAM_KSQL_URL": services.ksql_url,
    }
    command = [str(Path(sys.executable).with_name("gradstream")), *words]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


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
    (tmp_path / "diabetes.csv").write_text("\n".join(lines) + "\n")
    topic, run = unique("diabetes"), unique("run")

    gradstream(services, tmp_path, "produce", "csv", "diabetes.csv", "--topic", topic, "--target", "progression", "--sql", "diabetes.sql")  # fmt: skip
    gradstream(services, tmp_path, "sql", "diabetes.sql", "--wait")
    gradstream(services, tmp_path, "train", "--source", f"{topic}_training", "--target", "PROGRESSION", "--run", run, "--batch-size", "full", "--learning-rate", "0.2", "--epochs", "20000", "--features", ",".join(n.upper() for n in data.feature_names))  # fmt: skip
    shown = gradstream(services, tmp_path, "weights", "--run", run, "--json")

    newest = json.loads(shown.splitlines()[-1])
    learned = np.array(newest["tensors"]["w"])
    exact = LinearRegression().fit(features, data.target)
    assert newest["records_trained"] == 20_000 * len(features)
    assert np.allclose(learned, [exact.intercept_, *exact.coef_], atol=1e-6)
