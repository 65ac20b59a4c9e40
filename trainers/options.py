"""The options of a job, told once: flags, keys of train.toml, help and checks all follow from this table.

An option is the flag ``--batch-size``, the key ``batch_size`` and, unless ``fields`` says otherwise, the field of that
name in ``trainers.job.Job``, which holds its default.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from gradstream.errors import UsageError

if TYPE_CHECKING:
    from trainers.job import Job

FULL = 0  # batch_size of full-batch descent
NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
DEVICE = re.compile(r"cpu|gpu|gpu:\d{1,3}|auto")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Kind(NamedTuple):
    """How values are written.

    Attributes:
        read: the value, from the word after a flag; raises ValueError.
        load: the value, from what TOML gave; raises ValueError.
        dump: the value as TOML.
    """

    read: Callable[[str], Any]
    load: Callable[[Any], Any]
    dump: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        wanted: what would do, as it stands behind ``give`` in an error.
        right: whether a value that could be read will do; None always does where it is the default.
        choices: the words there are, where there are few.
        example: a value for files that show how it is written, where there is no default.
        needs: the flag without which this one changes nothing.
        decides: whether it changes the numbers that are learned, rather than how fast they come, when they end or
            where they go.
        fields: of the Job, where one option fills several.
    """

    key: str
    group: str
    kind: Kind
    metavar: str
    help: str
    wanted: str
    right: Callable[[Any], bool] = lambda value: True
    choices: tuple[str, ...] = ()
    example: Any = None
    needs: str = ""
    decides: bool = False
    fields: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return f"--{self.key.replace('_', '-')}"

    @property
    def remark(self) -> str:
        """What it does, in a line."""
        words = ", ".join(self.choices)
        said = ": ".join(filter(None, (self.help, words)))
        return f"{said} (with {self.needs})" if self.needs else said

    def value(self, job: Job) -> Any:
        found = tuple(getattr(job, name) for name in self.fields or (self.key,))
        if not self.fields:
            return found[0]
        return None if found == (None,) * len(found) else found

    def filled(self, value: Any) -> dict[str, Any]:
        """The fields of a job that have this value."""
        if not self.fields:
            return {self.key: value}
        values = (None,) * len(self.fields) if value is None else value
        return dict(zip(self.fields, values, strict=True))

    def shown(self, value: Any) -> str:
        """As one would write it behind the flag."""
        return "none" if value is None else self.kind.dump(value).strip('"[]').replace(", ", ",")

    def read(self, text: str) -> Any:
        """The value, from the word after the flag.

        Raises:
            UsageError: BAD_VALUE, with what would do.
        """
        return self._checked(self.kind.read, text, f"{self.flag} {_short(text)}")

    def load(self, raw: Any, place: str) -> Any:
        """The value, from what TOML gave.

        Raises:
            UsageError: BAD_VALUE, with the place and what would do.
        """
        written = json.dumps(raw, default=str, ensure_ascii=False)
        return self._checked(self.kind.load, raw, f"{place}: {self.key} = {_short(written)}")

    def check(self, value: Any) -> None:
        """Refuses a value that will not do.

        Raises:
            UsageError: BAD_VALUE, naming the flag and what would do.
        """
        if not self._will_do(value):
            raise self._bad(f"{self.flag} {_short(self.shown(value))}")

    def in_effect(self, job: Job) -> bool:
        """Whether it changes anything, given the others."""
        key, _, word = self.needs.removeprefix("--").partition(" ")
        if not key:
            return True
        found = getattr(job, key.replace("-", "_"))
        return str(found) == word if word else found is not None

    def _checked(self, get: Callable[[Any], Any], given: Any, where: str) -> Any:
        try:
            value = get(given)
            good = self._will_do(value)
        except (ValueError, OverflowError):
            good = False
        if not good:
            raise self._bad(where)
        return value

    def _will_do(self, value: Any) -> bool:
        if value is None:
            return True
        return value in self.choices if self.choices else self.right(value)

    def _bad(self, where: str) -> UsageError:
        return UsageError("BAD_VALUE", f"{where}: give {self.wanted}")


def _short(text: str) -> str:
    """At most so much of a value as an error may repeat."""
    return (text if len(text) <= 60 else f"{text[:59]}…") or "''"


def _a(kind: type) -> Callable[[Any], Any]:
    """Takes values of one type as they are; True is no number here."""

    def load(raw: Any) -> Any:
        if type(raw) is not kind:
            raise ValueError
        return raw

    return load


def _whole(get: Callable[[Any], Any]) -> Callable[[Any], int]:
    """Whole numbers that a weights record can hold."""

    def read(given: Any) -> int:
        value: int = get(given)
        if abs(value) >= 2**63:
            raise ValueError
        return value

    return read


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _many(one: Kind) -> Kind:
    """A tuple: ``a,b`` behind a flag, a list in TOML."""
    return Kind(
        read=lambda text: tuple(map(one.read, _words(text))),
        load=lambda raw: tuple(map(one.load, _a(list)(raw))),
        dump=lambda values: f"[{', '.join(map(one.dump, values))}]",
    )


def _or_none(one: Kind) -> Kind:
    """``none`` behind a flag takes back what a file says."""
    return Kind(lambda text: None if text == "none" else one.read(text), one.load, one.dump)


def _or_word(word: str, value: Any, one: Kind) -> Kind:
    """The word stands for a value that is not written otherwise."""

    def other(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def either(given: Any) -> Any:
            if given == word:
                return value
            if (found := get(given)) == value:
                raise ValueError
            return found

        return either

    return Kind(
        other(one.read),
        other(one.load),
        lambda given: json.dumps(word) if given == value else one.dump(given),
    )


def _seconds(text: str) -> float:
    if (found := DURATION.fullmatch(text)) is None:
        raise ValueError
    return float(found[1]) * SECONDS[found[2]]


def _interval(raw: Any) -> tuple[float | None, int | None]:
    """Seconds between two, or a number of steps."""
    if type(raw) is int or (isinstance(raw, str) and raw.isdecimal()):
        return None, int(raw)
    return _seconds(_a(str)(raw)), None


def _time(seconds: float) -> str:
    exact = Decimal(repr(seconds))
    return f'"{exact.normalize():f}s"' if seconds >= 1 else f'"{(exact * 1000).normalize():f}ms"'


TEXT = Kind(str, _a(str), lambda value: json.dumps(value, ensure_ascii=False))
WHOLE = Kind(_whole(int), _whole(_a(int)), str)
REAL = Kind(float, lambda raw: float(raw if type(raw) is int else _a(float)(raw)), repr)
SWITCH = Kind(str, _a(bool), lambda value: str(value).lower())  # its flags are two: --x and --no-x
TIME = Kind(_seconds, lambda raw: _seconds(_a(str)(raw)), _time)
INTERVAL = Kind(
    _interval, _interval, lambda pair: _time(pair[0]) if pair[1] is None else str(pair[1])
)
BATCH = _or_word("full", FULL, WHOLE)
CLASS_WEIGHTS = _or_none(_or_word("balanced", "balanced", _many(REAL)))


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _from_zero(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _from_one(value: int) -> bool:
    return value >= 1


def _weights(value: Any) -> bool:
    return value == "balanced" or (len(value) == 2 and all(map(_from_zero, value)) and any(value))


RUN = "1 to 200 letters, digits, '.', '_', '-'"
ABOVE_ZERO, ZERO_OR_ABOVE, COUNT = "a number above 0", "a number from 0", "a whole number from 1"
SWITCHED = "true or false"
SOURCE, MODEL, DESCENT, WAYS, BACKEND, STOPPING, PUBLISHING = GROUPS = (
    "source",
    "model",
    "descent",
    "ways of training",
    "backend",
    "stopping early",
    "publishing",
)

# A table: an option in a line or two.
# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("source", SOURCE, TEXT, "TOPIC", "topic to train on, in Avro",
           "the topic to train on", decides=True),
    Option("target", SOURCE, TEXT, "COLUMN", "column to predict; an autoencoder needs none",
           "the column to predict", example="Y", decides=True),
    Option("features", SOURCE, _many(TEXT), "A,B,C", "columns to predict from [all other numbers]",
           "names of columns", example=("X1", "X2")),
    Option("run", SOURCE, TEXT, "ID", "name of the chain of weights [TOPIC-MODEL]",
           RUN, lambda v: not v or NAME.fullmatch(v) is not None, example="mine"),
    Option("accept_partitions", SOURCE, SWITCH, "", "go on over partitions that are new", SWITCHED),

    Option("model", MODEL, TEXT, "NAME", "linear, logistic, autoencoder or a plug-in",
           "the name of a model", bool, decides=True),
    Option("bias", MODEL, SWITCH, "", "an intercept", SWITCHED, decides=True),
    Option("layers", MODEL, _many(WHOLE), "N,N,N", "widths of a network's inner layers [14,7,7]",
           "whole numbers from 1, such as 14,7,7", lambda v: all(map(_from_one, v)), example=(14, 7, 7), decides=True),
    Option("class_weights", MODEL, CLASS_WEIGHTS, "A,B", "of classes 0 and 1 in the loss, or balanced",
           "two numbers from 0, not both 0, such as 1,100, or balanced", _weights, example="balanced", decides=True),
    Option("standardise", MODEL, SWITCH, "", "scale features to mean 0 and variance 1",
           SWITCHED, decides=True),

    Option("batch_size", DESCENT, BATCH, "N", "records a step, or full for the whole log",
           "a whole number from 1, or full", lambda v: v >= 0, decides=True),
    Option("learning_rate", DESCENT, REAL, "RATE", "of the first step", ABOVE_ZERO, _positive, decides=True),
    Option("optimizer", DESCENT, TEXT, "NAME", "",
           "sgd, momentum or adam", choices=("sgd", "momentum", "adam"), decides=True),
    Option("momentum", DESCENT, REAL, "X", "share of a step in the next",
           "a number from 0, below 1", lambda v: 0 <= v < 1, needs="--optimizer momentum", decides=True),
    Option("l2", DESCENT, REAL, "X", "penalty: X/2 times the sum of squared weights",
           ZERO_OR_ABOVE, _from_zero, decides=True),
    Option("clip", DESCENT, _or_none(REAL), "X", "largest norm of a gradient",
           ABOVE_ZERO, _positive, example=1.0, decides=True),
    Option("schedule", DESCENT, TEXT, "NAME", "of the learning rate",
           "constant, inverse or cosine", choices=("constant", "inverse", "cosine"), decides=True),
    Option("power", DESCENT, REAL, "X", "rate / (1 + step)^X",
           ABOVE_ZERO, _positive, needs="--schedule inverse", decides=True),
    Option("schedule_steps", DESCENT, WHOLE, "N", "steps to rate 0",
           COUNT, _from_one, needs="--schedule cosine", decides=True),

    Option("mode", WAYS, TEXT, "NAME", "end where the log ends now, or never",
           "bounded or live", choices=("bounded", "live"), decides=True),
    Option("max_wait", WAYS, TIME, "TIME", "of a record for its batch",
           "a time such as 250ms, 1s or 2m", _positive, needs="--mode live", decides=True),
    Option("epochs", WAYS, WHOLE, "N", "times over the bounded log", COUNT, _from_one, decides=True),
    Option("shuffle", WAYS, SWITCH, "", "a new order for each epoch", SWITCHED, decides=True),
    Option("seed", WAYS, WHOLE, "N", "of the order and of a network's start",
           "a whole number from 0", lambda v: v >= 0, decides=True),
    Option("exact", WAYS, SWITCH, "", "linear models by sums of products, not by descent",
           SWITCHED, decides=True),

    Option("backend", BACKEND, TEXT, "NAME", "what computes: see gradstream backends",
           "the name of a backend", bool),
    Option("device", BACKEND, TEXT, "NAME", "cpu, gpu, gpu:N, or auto: a GPU if there is one",
           "cpu, gpu, gpu:0 (a number) or auto", lambda v: DEVICE.fullmatch(v) is not None),
    Option("dtype", BACKEND, TEXT, "NAME", "", "float64 or float32", choices=("float64", "float32"), decides=True),
    Option("resume_with", BACKEND, TEXT, "NAME", "go on with it, whichever backend the run had",
           "the name of a backend", example="numba"),

    Option("tolerance", STOPPING, _or_none(REAL), "X", "stop when nothing improves by more",
           ZERO_OR_ABOVE, _from_zero, example=1e-6, decides=True),
    Option("tolerance_on", STOPPING, TEXT, "NAME", "of",
           "loss or weights", choices=("loss", "weights"), needs="--tolerance", decides=True),
    Option("patience", STOPPING, WHOLE, "N", "checks that may fail", COUNT, _from_one, needs="--tolerance"),
    Option("max_records", STOPPING, _or_none(WHOLE), "N", "of the run", COUNT, _from_one, example=1_000_000),
    Option("max_steps", STOPPING, _or_none(WHOLE), "N", "of the run", COUNT, _from_one, example=10_000),
    Option("max_seconds", STOPPING, _or_none(REAL), "X", "of this process", ABOVE_ZERO, _positive, example=60.0),

    Option("publish_every", PUBLISHING, INTERVAL, "TIME", "a time, or a number of steps [1s; live: 5ms]",
           "a time such as 250ms, 1s or 2m, or a number of steps such as 100",
           lambda v: _positive(v[0]) if v[1] is None else v[1] >= 1, example=(1.0, None),
           fields=("publish_seconds", "publish_steps")),
    Option("weights_topic", PUBLISHING, TEXT, "TOPIC", "where weights go", "the name of a topic", bool),
    Option("dead_letters_topic", PUBLISHING, TEXT, "TOPIC", "where unusable records go",
           "the name of a topic", bool),
    Option("keep_values", PUBLISHING, SWITCH, "", "unusable records' bytes, not only hashes", SWITCHED),
)
# fmt: on
BY_KEY = {option.key: option for option in OPTIONS}
