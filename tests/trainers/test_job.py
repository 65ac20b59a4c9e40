"""What a user can get wrong in a job: one line each, naming the flag or the file and key, before any service is asked."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gradstream.errors import DataError, GradstreamError, UsageError
from trainers import job_file
from trainers.flags import described, job, parser
from trainers.job import FULL, Job
from trainers.options import BY_KEY, GROUPS, OPTIONS


def made(*flags: str) -> Job:
    return job(parser().parse_args(["--source", "t", "--target", "Y", *flags]))


def written(folder: Path, text: str) -> str:
    path = folder / "train.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--batch-size 0", "--batch-size 0: give a whole number from 1, or full"),
        ("--batch-size -1", "--batch-size -1: give a whole number from 1, or full"),
        ("--batch-size 1.5", "--batch-size 1.5: give a whole number from 1, or full"),
        ("--learning-rate nan", "--learning-rate nan: give a number above 0"),
        ("--learning-rate 0", "--learning-rate 0: give a number above 0"),
        ("--learning-rate -1", "--learning-rate -1: give a number above 0"),
        ("--learning-rate inf", "--learning-rate inf: give a number above 0"),
        ("--learning-rate fast", "--learning-rate fast: give a number above 0"),
        ("--epochs 0", "--epochs 0: give a whole number from 1"),
        ("--epochs 1e3", "--epochs 1e3: give a whole number from 1"),
        ("--epochs 9223372036854775808", "give a whole number from 1"),
        ("--tolerance nan", "--tolerance nan: give a number from 0"),
        ("--tolerance 1 --patience 0", "--patience 0: give a whole number from 1"),
        ("--max-steps 0", "--max-steps 0: give a whole number from 1"),
        ("--max-seconds -1", "--max-seconds -1: give a number above 0"),
        ("--publish-every 0", "--publish-every 0: give a time such as 250ms"),
        ("--publish-every 0s", "--publish-every 0s: give a time such as 250ms"),
        ("--publish-every soon", "--publish-every soon: give a time such as 250ms"),
        ("--mode live --max-wait 3", "--max-wait 3: give a time such as 250ms, 1s or 2m"),
        ("--features A,Y", "--features Y: it is the target"),
        ("--features A,B,A", "--features: a column is named twice"),
        ("--run a/b", "--run a/b: give 1 to 200 letters"),
        ("--mode live --epochs 2", "--mode live has no end"),
        ("--mode live --batch-size full", "--mode live has no end"),
        ("--mode lives", "invalid choice: 'lives'"),
        ("--optimizer adams", "did you mean 'adam'?"),
        ("--optimizer momentum --momentum 1", "--momentum 1: give a number from 0, below 1"),
        ("--optimizer momentum --momentum -0.1", "--momentum -0.1: give a number from 0, below 1"),
        ("--optimizer momentum --momentum nan", "--momentum nan: give a number from 0, below 1"),
        ("--l2 -1", "--l2 -1: give a number from 0"),
        ("--l2 inf", "--l2 inf: give a number from 0"),
        ("--clip 0", "--clip 0: give a number above 0"),
        ("--schedule inverse --power 0", "--power 0: give a number above 0"),
        ("--schedule cosine --schedule-steps 0", "--schedule-steps 0: give a whole number from 1"),
        ("--model autoencoder --layers 3,0", "--layers 3,0: give whole numbers from 1, such as"),
        ("--model autoencoder --layers 3;4", "--layers 3;4: give whole numbers from 1, such as"),
        ("--layers 14,7", "--layers 14,7: model 'linear' has no layers"),
        ("--model autoencoder --no-bias", "--no-bias: the layers of model 'autoencoder' have biases"),
        ("--device tpu", "--device tpu: give cpu, gpu, gpu:0 (a number) or auto"),
        ("--device gpu:x", "--device gpu:x: give cpu, gpu, gpu:0 (a number) or auto"),
        ("--dtype float16", "choose from"),
        ("--class-weights 1,100", "--class-weights: model 'linear' tells no classes apart"),
        ("--model logistic --class-weights 1", "--class-weights 1: give two numbers from 0"),
        ("--model logistic --class-weights 0,0", "--class-weights 0,0: give two numbers from 0"),
        ("--model logistic --class-weights 1,nan", "--class-weights 1,nan: give two numbers from 0"),
        ("--model logistic --class-weights even", "--class-weights even: give two numbers from 0"),
        ("--model logistics", "no model 'logistics'; did you mean 'logistic'?"),
        ("--backend numpi", "no backend 'numpi'; did you mean 'numpy'?"),
        ("--resume-with numbas", "no backend 'numbas'; did you mean 'numba'?"),
        ("--exact --model logistic", "--exact: least squares know linear models only, not 'logistic'"),
        ("--exact --optimizer adam", "--exact with --optimizer: least squares take no steps"),
        ("--exact --standardise", "--exact with --standardise: the sums know nothing of it"),
        ("--exact --l2 1", "--exact with --l2: least squares"),
        ("--exact --clip 1", "--exact with --clip: least squares"),
        ("--exact --tolerance 1", "--exact with --tolerance: the sums"),
        ("--exact --dtype float32", "--exact with --dtype: the sums"),
        ("--exact --device gpu", "--exact with --device: the sums"),
        ("--exact --resume-with numba", "--exact with --resume-with: the sums"),
        ("--exact --epochs 9", "--exact with --epochs: least squares take no steps; give --batch-size full"),
        ("--exact --mode live --batch-size full", "--mode live has no end"),
        ("--momentum 0.5", "--momentum changes nothing without --optimizer momentum"),
        ("--power 1", "--power changes nothing without --schedule inverse"),
        ("--schedule-steps 9", "--schedule-steps changes nothing without --schedule cosine"),
        ("--patience 3", "--patience changes nothing without --tolerance"),
        ("--tolerance-on weights", "--tolerance-on changes nothing without --tolerance"),
        ("--max-wait 1s", "--max-wait changes nothing without --mode live"),
        ("--features= --model=", "--model '': give the name of a model"),
        ("--learningrate 1", "did you mean --learning-rate?"),
    ],
)  # fmt: skip
def test_bad_flags(flags: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        made(*flags.split())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rate = 1", "no key 'learning-rate'; did you mean 'learning_rate'?"),
        ("xyzzy = 1", "no key 'xyzzy'; see gradstream train --help: the keys are its flags"),
        ("[model]\nname = 'linear'", 'model = {"name": "linear"}: give the name of a model'),
        ("learning_rate = 'fast'", 'learning_rate = "fast": give a number above 0'),
        ("learning_rate = true", "learning_rate = true: give a number above 0"),
        ("learning_rate = -1", "learning_rate = -1: give a number above 0"),
        ("learning_rate = nan", "learning_rate = NaN: give a number above 0"),
        ("epochs = 1.0", "epochs = 1.0: give a whole number from 1"),
        ("epochs = '3'", 'epochs = "3": give a whole number from 1'),
        ("seed = -1", "seed = -1: give a whole number from 0"),
        ("batch_size = 0", "batch_size = 0: give a whole number from 1, or full"),
        ("batch_size = 'all'", 'batch_size = "all": give a whole number from 1, or full'),
        ("bias = 'no'", 'bias = "no": give true or false'),
        ("features = 'A,B'", 'features = "A,B": give names of columns'),
        ("features = ['A', 1]", 'features = ["A", 1]: give names of columns'),
        ("layers = [3, 0]", "layers = [3, 0]: give whole numbers from 1"),
        ("class_weights = [1, 2, 3]", "class_weights = [1, 2, 3]: give two numbers from 0"),
        ("mode = 'lives'", 'mode = "lives": give bounded or live'),
        ("dtype = 'float16'", 'dtype = "float16": give float64 or float32'),
        ("device = 'tpu'", 'device = "tpu": give cpu, gpu'),
        ("max_wait = 3", "max_wait = 3: give a time such as 250ms"),
        ("publish_every = 1.5", "publish_every = 1.5: give a time such as 250ms"),
        ("max_steps = 1979-05-27", 'max_steps = "1979-05-27": give a whole number from 1'),
        ("epochs = ", "Invalid value (at line 1, column 10); see docs/training.md"),
    ],
)
def test_bad_files_are_told_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text + "\n")
    with pytest.raises(GradstreamError) as error:
        made("--job", path)
    assert f": {path}: {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_bytes(b'\xef\xbb\xbfsource = "marked"\n')  # as some editors begin a file
    assert made("--job", str(path)).target == "Y"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match=r"^BAD_TOML: .*train.toml is no text in UTF-8; save it"):
        made("--job", str(path))


def test_a_long_value_is_not_repeated_in_full(tmp_path: Path) -> None:
    path = written(tmp_path, f"l2 = {'9' * 400}\n")  # beyond any float
    with pytest.raises(UsageError, match=r"l2 = 9{59}…: give a number from 0$"):
        made("--job", path)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match="NO_FILE"):
        made("--job", "")
    with pytest.raises(DataError, match=r"^NO_FILE: cannot read nowhere.toml: No such file"):
        made("--job", "nowhere.toml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--source is missing; give the topic to train on; see gradstream train --help"),
        ("--source t", "--target is missing; give the column that model 'linear' is to predict"),
        ("--source t --model autoencoder --class-weights 1,0", "--class-weights: no column says"),
    ],
)
def test_what_is_missing(flags: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        job(parser().parse_args(flags.split()))
    assert message in str(error.value)


def test_a_model_that_reconstructs_needs_no_target() -> None:
    found = job(parser().parse_args("--source t --model autoencoder --layers 14,7,7".split()))
    assert (found.target, found.layers) == ("", (14, 7, 7))


def test_flags_become_a_job() -> None:
    found = made("--batch-size", "full", "--publish-every", "250ms", "--features", "A, B")
    assert (found.batch_size, found.publish_seconds, found.publish_steps) == (FULL, 0.25, None)
    assert found.features == ("A", "B")
    assert found.in_epochs
    assert found.run_id == "t-linear"
    assert made("--publish-every", "100").publish_steps == 100
    assert not made().in_epochs
    logistic = made("--model", "logistic", "--class-weights", "1,100")
    assert logistic.class_weights == (1.0, 100.0)
    assert replace(logistic, class_weights="balanced") == made(
        "--model", "logistic", "--class-weights", "balanced"
    )
    assert not made("--no-bias").bias


def test_sums_follow_any_descent_in_full_batches() -> None:
    flags = (
        "--exact --batch-size full --epochs 9 --optimizer adam --l2 1 --clip 1 --schedule cosine"
    )
    found = made(*flags.split())
    assert found.exact
    assert not found.in_epochs  # the log is read once


def test_a_job_of_a_program_is_checked_by_the_same_table() -> None:
    with pytest.raises(UsageError, match=r"^BAD_VALUE: --publish-every 0ms: give a time"):
        Job("t", "Y", publish_seconds=0.0).check()
    with pytest.raises(UsageError, match=r"^BAD_VALUE: --learning-rate -1.0: give a number"):
        Job("t", "Y", learning_rate=-1.0).check()
    Job("t", "Y").check()


def test_the_table_and_the_job_know_the_same_fields() -> None:
    told = [name for option in OPTIONS for name in option.fields or (option.key,)]
    assert sorted(told) == sorted(field.name for field in fields(Job))
    assert {option.group for option in OPTIONS} == set(GROUPS)


def test_every_option_is_a_flag_and_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = parser().format_help()
    for option in OPTIONS:
        assert re.search(rf"--(no-)?{option.flag[2:]}\b", shown), option.flag
    assert max(map(len, shown.splitlines())) <= 80


# Values of every kind, each other than the default.
CHANGED: dict[str, Any] = {
    "source": 'a "b"\\',
    "target": "Größe",
    "features": ("A", "B c"),
    "run": "r",
    "model": "autoencoder",
    "layers": (14, 7),
    "class_weights": (1.0, 0.25),
    "batch_size": FULL,
    "learning_rate": 1e-05,
    "optimizer": "momentum",
    "momentum": 0.5,
    "l2": 1e-7,
    "clip": 0.1,
    "schedule": "cosine",
    "schedule_steps": 7,
    "epochs": 3,
    "shuffle": False,
    "seed": 5,
    "standardise": True,
    "backend": "numba",
    "device": "gpu:1",
    "dtype": "float32",
    "resume_with": "jax",
    "tolerance": 1e-9,
    "tolerance_on": "weights",
    "patience": 3,
    "max_records": 10**9,
    "max_steps": 5,
    "max_seconds": 0.5,
    "publish_seconds": 0.0015,
    "weights_topic": "w",
    "dead_letters_topic": "d",
    "keep_values": True,
    "accept_partitions": True,
}


def test_a_file_says_what_was_written(tmp_path: Path) -> None:
    path, wanted = str(tmp_path / "a job.toml"), Job(**CHANGED)
    wanted.check()
    job_file.write(path, wanted, BY_KEY)
    assert job(parser().parse_args(["--job", path])) == wanted
    with pytest.raises(DataError, match="FILE_EXISTS"):
        job_file.write(path, wanted, ())


def test_every_line_behind_a_hash_is_an_example_that_can_be_taken(tmp_path: Path) -> None:
    text = job_file.text(Job("t"), ())
    assert tomllib.loads(text) == {"source": "t"}
    full = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert list(tomllib.loads(full)) == [option.key for option in OPTIONS]
    job_file.read(written(tmp_path, full))
    assert max(map(len, text.splitlines())) <= 120


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "source = 's'\ntarget = 'Y'\nbias = false\nmax_steps = 9\nlearning_rate = 1\nfeatures = ['A']\n"
        "optimizer = 'momentum'\nmomentum = 0.5\npublish_every = 7\n",
    )
    found = job(parser().parse_args(["--job", path]))
    assert (found.bias, found.max_steps, found.learning_rate, found.publish_steps) == (
        False,
        9,
        1.0,
        7,
    )
    assert type(found.learning_rate) is float
    flags = "--bias --max-steps none --features= --optimizer adam --publish-every 2s --source t"
    other = job(parser().parse_args(["--job", path, *flags.split()]))
    assert (other.bias, other.max_steps, other.features, other.source) == (True, None, (), "t")
    assert (other.publish_seconds, other.publish_steps) == (2.0, None)
    assert other.learning_rate == 1.0


def test_write_job_writes_what_the_flags_mean(tmp_path: Path) -> None:
    given = parser().parse_args(["--source", "t", "--target", "Y", "--max-steps", "3"])
    path = str(tmp_path / "train.toml")
    job_file.write(path, *described(given))
    assert tomllib.loads(Path(path).read_text()) == {"source": "t", "target": "Y", "max_steps": 3}


DECIDES = {
    "source": "s",
    "target": "Z",
    "model": "logistic",
    "bias": False,
    "layers": (3,),
    "class_weights": "balanced",
    "standardise": True,
    "batch_size": 7,
    "learning_rate": 0.02,
    "optimizer": "adam",
    "l2": 0.1,
    "clip": 1.0,
    "schedule": "inverse",
    "mode": "live",
    "epochs": 2,
    "shuffle": False,
    "seed": 1,
    "exact": True,
    "dtype": "float32",
    "tolerance": 0.5,
}


@pytest.mark.parametrize("field", DECIDES)
def test_configuration_moves_with_what_decides_the_numbers(field: str) -> None:
    plain = Job("t", "Y")
    other = replace(plain, **{field: DECIDES[field]})  # type: ignore[arg-type]
    assert other.configuration_hash(("A",)) != plain.configuration_hash(("A",))
    assert json.loads(other.configuration(("A",)))[field] == (
        [3] if field == "layers" else DECIDES[field]
    )


def test_configuration_stays_where_the_numbers_do() -> None:
    plain = Job("t", "Y")
    same = Job(
        "t", "Y", run="r", publish_seconds=9.0, max_seconds=1.0, backend="numba", device="gpu",
        resume_with="jax", patience=3, momentum=0.1, power=2.0, schedule_steps=3, max_wait=9.0,
    )  # fmt: skip
    assert plain.configuration(("A",)) == same.configuration(("A",))
    assert plain.configuration(("A",)) != plain.configuration(("B",))
    momentum = Job("t", "Y", optimizer="momentum")
    assert momentum.configuration(()) != replace(momentum, momentum=0.1).configuration(())


def test_the_backend_of_weights_records() -> None:
    assert Job("t", "Y", backend="jax").runs_on == "jax"
    assert Job("t", "Y", backend="jax", resume_with="torch").runs_on == "torch"
    assert Job("t", "Y", backend="jax", exact=True).runs_on == "exact"


def test_live_weights_come_as_often_as_their_size_allows() -> None:
    live = Job("t", "Y", mode="live")
    assert live.publish_interval(1_200) == 0.005
    assert live.publish_interval(8_000_000) == 8.0
    assert replace(live, publish_seconds=0.2).publish_interval(8_000_000) == 0.2
    assert Job("t", "Y").publish_interval(8_000_000) == 1.0
