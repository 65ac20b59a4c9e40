"""The one description of a training job: what the flags fill in and what a program hands to ``train``."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Literal

from gradstream.errors import UsageError
from trainers.descent import Descent, OptimizerName, Schedule

FULL = 0  # batch_size of full-batch descent
NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


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
        exact: least squares from sums of products, without descent; with ``epochs`` and full batches the weights that
            so many epochs of descent would give. Linear models only.
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
        publish_seconds, publish_steps: how often weights and offsets are committed; steps count if given.
        max_wait: live mode: seconds a record waits for its batch to fill.
        keep_values: whether dead letters carry the record's bytes; by default their SHA-256 only.
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
    publish_seconds: float = 1.0
    publish_steps: int | None = None
    max_wait: float = 0.5
    weights_topic: str = "gradstream_weights"
    dead_letters_topic: str = "gradstream_dead_letters"
    keep_values: bool = False

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
    def in_epochs(self) -> bool:
        """Whether the log is spilled and descended over, rather than trained on as it comes."""
        return (self.epochs > 1 or self.batch_size == FULL) and not self.exact

    def configuration_hash(self, features: tuple[str, ...]) -> str:
        """SHA-256 of all that decides the numbers, as canonical JSON."""
        decides = [
            "source",
            "target",
            "run",
            "model",
            "bias",
            "batch_size",
            "learning_rate",
            "epochs",
            "shuffle",
            "seed",
        ]
        chosen = {name: value for name, value in asdict(self).items() if name in decides}
        text = json.dumps({**chosen, "features": features}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Refuses what cannot be trained, before anything is asked of a service.

        Raises:
            UsageError: naming the flag, the value and what would do.
        """
        checks: list[tuple[bool, str, object, str]] = [
            (bool(self.source), "--source", self.source, "the topic to train on"),
            (bool(self.target), "--target", self.target, "the column to predict"),
            (
                NAME.fullmatch(self.run_id) is not None,
                "--run",
                self.run_id,
                "1 to 200 letters, digits, '.', '_', '-'",
            ),
            (
                self.batch_size >= 0,
                "--batch-size",
                self.batch_size,
                "a whole number from 1, or full",
            ),
            (
                _positive(self.learning_rate),
                "--learning-rate",
                self.learning_rate,
                "a number above 0",
            ),
            (self.epochs >= 1, "--epochs", self.epochs, "a whole number from 1"),
            (self.seed >= 0, "--seed", self.seed, "a whole number from 0"),
            (
                self.tolerance is None or (math.isfinite(self.tolerance) and self.tolerance >= 0),
                "--tolerance",
                self.tolerance,
                "a number from 0",
            ),
            (self.patience >= 1, "--patience", self.patience, "a whole number from 1"),
            (
                _positive(self.publish_seconds),
                "--publish-every",
                self.publish_seconds,
                "a number above 0",
            ),
            (
                _from_one(self.publish_steps),
                "--publish-every",
                self.publish_steps,
                "a whole number from 1",
            ),
            (
                _from_one(self.max_records),
                "--max-records",
                self.max_records,
                "a whole number from 1",
            ),
            (_from_one(self.max_steps), "--max-steps", self.max_steps, "a whole number from 1"),
            (
                self.max_seconds is None or _positive(self.max_seconds),
                "--max-seconds",
                self.max_seconds,
                "a number above 0",
            ),
            (_positive(self.max_wait), "--max-wait", self.max_wait, "seconds above 0"),
        ]
        for right, flag, value, wanted in checks:
            if not right:
                shown = f"{value:g}" if isinstance(value, float) else value
                raise UsageError("BAD_VALUE", f"{flag} {shown}: give {wanted}")
        if self.mode == "live" and self.in_epochs:
            raise UsageError(
                "BAD_VALUE",
                "--mode live has no end, so neither epochs nor full batches; give --mode bounded",
            )
        if self.target in self.features:
            raise UsageError(
                "BAD_VALUE", f"--features {self.target}: it is the target; leave it out"
            )
        if len(set(self.features)) < len(self.features):
            raise UsageError("BAD_VALUE", "--features: a column is named twice; name each once")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _from_one(value: int | None) -> bool:
    return value is None or value >= 1
