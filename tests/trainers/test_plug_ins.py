"""The examples of docs/plug-ins.md, installed as pip would and held to the contract of those that we ship."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gradstream.config import Services
from gradstream.errors import UsageError
from tests.trainers import test_backends as contract
from tests.trainers.feed import Topic, Unique, data
from tests.trainers.runs import chain_of, environment
from trainers import backends, models
from trainers.descent import Descent
from trainers.flags import job, parser

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both examples are installed."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    copies = [
        str(copied(EXAMPLES / name, tmp_path_factory)) for name in ("own_model", "own_backend")
    ]
    subprocess.run([*pip, *offline, *copies], check=True)
    return folder


def copied(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since pip may leave a build folder beside what it installs."""
    copy = tmp_path_factory.mktemp("source") / source.name
    return Path(shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def plugged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(folder)
    plain = {"all": Descent(0.05, schedule="cosine", schedule_steps=300)}
    plain |= dict.fromkeys(("momentum", "adam"), Descent(0.05, schedule="inverse"))
    for name, descent in plain.items():  # the backend does not claim more
        monkeypatch.setitem(contract.DESCENTS, name, descent)
    yield
    for name in ("own_model", "own_backend"):
        sys.modules.pop(name, None)


BOTH = ("linear", "logistic")


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("how", ["sgd", "inverse", "cosine"])
def test_own_backend_agrees_with_pure_python(model: str, how: str) -> None:
    contract.test_agrees_with_pure_python_after_200_steps("blas", model, how)
    contract.test_export_and_load_go_on_as_if_never_stopped("blas", model, how)


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize(
    "claim",
    [
        contract.test_how_batches_are_grouped_into_calls_changes_no_bit,
        contract.test_passes_equal_calls,
        contract.test_another_backend_goes_on_to_the_same_answer,
        contract.test_inputs_and_the_old_state_stay_as_they_were,
        contract.test_twenty_runs_give_one_hash,
        contract.test_row_weights_count_rows,
        contract.test_scores_are_what_predict_would_have_said,
    ],
)
def test_own_backend_keeps_the_contract(claim: Callable[[str, str], None], model: str) -> None:
    claim("blas", model)


@pytest.mark.usefixtures("plugged")
def test_own_backend_on_odd_data() -> None:
    contract.test_golden_descent("blas")
    contract.test_any_number_of_rows("blas", 300)
    contract.test_overflow_comes_out_as_numbers_that_are_not_finite("blas")
    contract.test_rows_of_another_shape_are_refused("blas")
    contract.test_a_device_that_is_not_there_names_those_that_are("blas")


@pytest.mark.usefixtures("plugged")
def test_own_backend_refuses_what_it_does_not_know() -> None:
    kind = backends.get("blas")
    for model, descent in (
        (models.get("autoencoder", 4), Descent()),
        (models.get("linear", 4), Descent(optimizer="adam")),
    ):
        with pytest.raises(UsageError, match=r"^BAD_BACKEND: blas knows models without layers"):
            kind(model, descent, "cpu", "float64")


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("name", ["numpy", "python"])
def test_own_model_learns_what_a_line_cannot(name: str) -> None:
    random = np.random.default_rng(5)
    features = random.normal(size=(2000, 2))
    target = np.abs(features[:, 0]) - features[:, 1] ** 2
    ends = []
    for model in (models.get("mlp", 2, inner=(16, 8)), models.get("linear", 2)):
        backend = backends.get(name)(model, Descent(0.01, "adam"), "cpu", "float64")
        X = model.design(features)
        state = backend.steps(backend.init(1), X, target, 50, passes=3).state
        ends.append(float(np.square(backend.predict(state, X) - target).mean()))
    assert ends[0] < 0.3 * ends[1]


@pytest.mark.usefixtures("plugged")
def test_both_are_known_to_the_command() -> None:
    flags = "--source t --target Y --model mlp --layers 8,4 --backend blas".split()
    assert job(parser().parse_args(flags)).layers == (8, 4)
    with pytest.raises(UsageError, match="did you mean 'blas'"):
        job(parser().parse_args(["--source", "t", "--target", "Y", "--backend", "blass"]))
    with pytest.raises(UsageError, match="did you mean 'mlp'"):
        job(parser().parse_args(["--source", "t", "--target", "Y", "--model", "mpl"]))


def test_the_examples_are_short() -> None:
    for path in EXAMPLES.glob("*/*.py"):
        assert len(path.read_text().splitlines()) <= 60, path
    for path in EXAMPLES.glob("*/pyproject.toml"):
        assert tomllib.loads(path.read_text())["project"]["dependencies"][0] == "gradstream"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("flags", "tensors"),
    [("--backend blas", ["w"]), ("--model mlp --layers 6,5", ["W1", "W3", "b1", "b3"])],
)
def test_a_job_trains_with_them(
    services: Services, unique: Unique, folder: Path, flags: str, tensors: list[str]
) -> None:
    topic = Topic(services, unique, 3)
    topic.send(*data(2000, 3))
    words = [
        *("--source", topic.name, "--target", "Y", "--run", f"{topic.run}r"),
        *("--weights-topic", topic.weights, "--dead-letters-topic", topic.dead),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "gradstream.cli", "train", *words, *flags.split()],
        env=environment(services)
        | {"PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLES.parent)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    records = chain_of(topic, "r")
    assert records[-1].records_trained == 2000
    assert set(tensors) <= set(records[-1].tensors)
    assert records[-1].loss is not None
    assert f"--backend {records[-1].backend}" == flags or records[-1].model == "mlp"
