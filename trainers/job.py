"""The one description of a training job: what the flags fill in and what a program hands to ``train``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from gradstream.errors import UsageError
from trainers import backends, models
from trainers.descent import Descent, OptimizerName, Schedule
from trainers.options import FULL, NAME, OPTIONS, RUN

__all__ = ["FULL", "Job"]

LIVE_SECONDS = 0.005
LIVE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, on what, and when to stop and publish.

        Job(source="regression_training", target="Y")

    Attributes:
        source: Avro topic.
        target: column that the model is to predict; a model that reconstructs its features needs none, and takes one as
            the label of what is to be found.
        features: columns that it predicts from; empty: all other numeric columns of the topic's latest schema.
        run: names the chain of weights; the same run again goes on where it stopped. Empty: source-model.
        layers: widths of a network's inner layers; empty: those of the model.
        resume_with: a backend that goes on with what another one has learned; empty: only the same goes on.
        device: cpu, gpu, gpu:N, or auto.
        exact: least squares from sums of products, without descent; with full batches the weights that ``epochs`` steps
            of descent over all records so far would give. Linear models only.
        optimizer … schedule_steps: see trainers.descent.Descent.
        standardise: scale each feature to mean 0 and variance 1, learned from records already trained on.
        class_weights: of the classes 0 and 1 in the loss, or ``balanced``: by how often each was seen. None: 1 and 1,
            and for a model that reconstructs 1 and 0, so that it learns the normal rows only.
        batch_size: records a step; FULL (0): the whole bounded log.
        epochs: times over the bounded log. With 1 the log is trained on as it is read; with more, or in full batches,
            it is read once into a local spill.
        shuffle: with epochs, a new seeded order for each.
        tolerance: stop early when nothing improves by more; None: never.
        patience: checks without progress that it takes.
        max_records, max_steps: of the run, resumed parts included.
        max_seconds: of this process.
        publish_seconds, publish_steps: how often weights and offsets are committed at most; steps count if given. Both
            None: see publish_interval.
        max_wait: live mode: seconds a record waits for its batch to fill.
        keep_values: whether dead letters carry the record's bytes; by default their SHA-256 only.
        accept_partitions: whether to go on where the topic has partitions that the run has not seen; they change the
            order of training, so by default it stops.
    """

    source: str
    target: str = ""
    features: tuple[str, ...] = ()
    run: str = ""
    model: str = "linear"
    bias: bool = True
    layers: tuple[int, ...] = ()
    backend: str = "numpy"
    resume_with: str = ""
    device: str = "cpu"
    dtype: str = "float64"
    exact: bool = False
    batch_size: int = 256
    learning_rate: float = 0.01
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    l2: float = 0.0
    clip: float | None = None
    schedule: Schedule = "constant"
    power: float = 0.5
    schedule_steps: int = 10_000
    standardise: bool = False
    class_weights: tuple[float, float] | Literal["balanced"] | None = None
    epochs: int = 1
    shuffle: bool = True
    seed: int = 0
    mode: Literal["bounded", "live"] = "bounded"
    tolerance: float | None = None
    tolerance_on: Literal["loss", "weights"] = "loss"
    patience: int = 1
    max_records: int | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    publish_seconds: float | None = None
    publish_steps: int | None = None
    max_wait: float = 0.1
    weights_topic: str = "gradstream_weights"
    dead_letters_topic: str = "gradstream_dead_letters"
    keep_values: bool = False
    accept_partitions: bool = False

    @property
    def run_id(self) -> str:
        return self.run or f"{self.source}-{self.model}"

    @property
    def transactional_id(self) -> str:
        """One writer a run, by Kafka's own fencing."""
        return f"gradstream-train-{self.run_id}"

    @property
    def group(self) -> str:
        """Consumer group; of run and source, since a member that comes back to a group for other topics is not given
        any partitions until the group has forgotten the old ones.
        """
        return f"gradstream-train-{self.run_id}-{self.source}"

    def publish_interval(self, size: int) -> float:
        """Seconds between two publications at least, where steps do not count.

        Args:
            size: bytes of a weights record; where nothing else is asked for, live ones are no more than LIVE_BYTES a
                second, since they are kept.
        """
        if self.publish_seconds is not None:
            return self.publish_seconds
        return max(LIVE_SECONDS, size / LIVE_BYTES) if self.mode == "live" else 1.0

    @property
    def descent(self) -> Descent:
        return Descent(
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            momentum=self.momentum,
            l2=self.l2,
            clip=self.clip,
            schedule=self.schedule,
            power=self.power,
            schedule_steps=self.schedule_steps,
        )

    @property
    def runs_on(self) -> str:
        """The backend of this process, as weights records name it."""
        return "exact" if self.exact else self.resume_with or self.backend

    @property
    def in_epochs(self) -> bool:
        """Whether the log is spilled and descended over, rather than trained on as it comes."""
        return (self.epochs > 1 or self.batch_size == FULL) and not self.exact

    def configuration(self, features: tuple[str, ...]) -> str:
        """All that decides the numbers, as canonical JSON: of the options those that are in effect. Backend and device
        are not among them, since they change the speed and not the answer; nor is when to stop, except for the tolerance:
        how near its rule is to stopping is part of the tensors.

        Args:
            features: the columns that were found, where the job names none.
        """
        chosen = {
            option.key: option.value(self)
            for option in OPTIONS
            if option.decides and option.in_effect(self)
        }
        return json.dumps({**chosen, "features": features}, sort_keys=True, separators=(",", ":"))

    def configuration_hash(self, features: tuple[str, ...]) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(self.configuration(features).encode()).hexdigest()

    def check(self) -> None:
        """Refuses what cannot be trained, before anything is asked of a service.

        Raises:
            UsageError: naming the flag, the value and what would do.
        """
        for option in OPTIONS:
            option.check(option.value(self))
        if not self.source:
            raise _missing("--source", "the topic to train on")
        for name in (self.backend, self.resume_with):
            if name and not backends.known(name):
                raise backends.unknown(name)
        model = models.get(self.model, len(self.features) or 1, self.bias, self.layers)
        if not self.target and not model.reconstructs:
            raise _missing("--target", f"the column that model {self.model!r} is to predict")
        for wrong, message in (*self._contradictions(), *self._misfits(model), *self._inexact()):
            if wrong:
                raise UsageError("BAD_VALUE", message)

    def _contradictions(self) -> list[tuple[bool, str]]:
        endless = self.mode == "live" and (self.epochs > 1 or self.batch_size == FULL)
        return [
            (
                NAME.fullmatch(self.run_id) is None,
                f"--run {self.run_id}: give {RUN}",
            ),
            (
                endless,
                "--mode live has no end, so neither epochs nor full batches; give --mode bounded",
            ),
            (
                self.target in self.features,
                f"--features {self.target}: it is the target; leave it out",
            ),
            (
                len(set(self.features)) < len(self.features),
                "--features: a column is named twice; name each once",
            ),
        ]

    def _misfits(self, model: models.Model) -> list[tuple[bool, str]]:
        """What the model has no use for."""
        name, widths = self.model, ",".join(map(str, self.layers))
        return [
            (
                bool(self.layers) and not model.layers,
                f"--layers {widths}: model {name!r} has no layers; leave it out, or give another --model",
            ),
            (
                not self.bias and bool(model.layers),
                f"--no-bias: the layers of model {name!r} have biases of their own; leave it out",
            ),
            (
                self.class_weights is not None and not model.classifies,
                f"--class-weights: model {name!r} tells no classes apart; leave it out, or give --model logistic",
            ),
            (
                self.class_weights is not None and not self.target,
                "--class-weights: no column says which class a row is of; name it by --target",
            ),
            (
                self.exact and (bool(model.layers) or model.loss != "mean_squared_error"),
                f"--exact: least squares know linear models only, not {name!r}; leave it out, or give --model linear",
            ),
        ]

    def _inexact(self) -> list[tuple[bool, str]]:
        """What sums of products cannot follow."""
        if not self.exact:
            return []
        descends = self.batch_size == FULL
        steps = {
            "--optimizer": self.optimizer != "sgd",
            "--l2": self.l2 != 0,
            "--clip": self.clip is not None,
            "--schedule": self.schedule != "constant",
            "--epochs": self.epochs > 1,
        }
        never = {
            "--standardise": self.standardise,
            "--tolerance": self.tolerance is not None,
            "--dtype": self.dtype != "float64",
            "--device": self.device not in ("cpu", "auto"),
            "--resume-with": bool(self.resume_with),
        }
        follow = "least squares take no steps; give --batch-size full to follow a descent, or leave out one of the two"
        unlike = "the sums know nothing of it; leave out one of the two"
        return [
            *((wrong, f"--exact with {flag}: {unlike}") for flag, wrong in never.items()),
            *(
                (wrong and not descends, f"--exact with {flag}: {follow}")
                for flag, wrong in steps.items()
            ),
        ]


def _missing(flag: str, what: str) -> UsageError:
    return UsageError("USAGE", f"{flag} is missing; give {what}; see gradstream train --help")
