"""Keras on TensorFlow, whose ``train_on_batch`` is compiled once."""

from __future__ import annotations

from benchmarks.peers.programs.reading import batches
from benchmarks.peers.programs.task import Clock, Task


def train_on_batch(task: Task, clock: Clock) -> None:
    import keras

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    for X, y in batches(task, clock):
        model.train_on_batch(X, y)
    clock.weights = model.get_weights()[0][:, 0]
