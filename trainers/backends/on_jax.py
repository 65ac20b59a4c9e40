"""Gradient descent on JAX: one compiled program for all batches of a call and all passes over them.

XLA compiles for shapes, and a call may bring any number of batches, the last of any number of rows. So rows are padded
to whole batches, batches to the next of a few counts (``_room``), and how many there are of each is an argument of the
program: it loops as often as that says and never reads what is beyond. The body of the loop is the same whatever the
count, so how batches are grouped into calls changes no bit.

The gradient is written out, as in the other backends: that of jax.grad differs for a ReLU at 0, where it halves what
the others drop.
"""

from __future__ import annotations

import os

# One thread: more of them may split a sum differently from run to run (jax-ml/jax#39741). XLA reads this when it first
# looks for devices. It would also take three quarters of a GPU's memory at once.
os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainers.backends.base import Backend, State, Steps
from trainers.backends.xla import NARROW, PREDICTED, TALL, Staging, room
from trainers.descent import Descent, Operations
from trainers.models import Floats, Model

jax.config.update("jax_enable_x64", True)  # else float64 becomes float32 without a word
# The caller waits for every program, so it may as well run it: handing it to a thread takes longer on a busy machine.
jax.config.update("jax_cpu_enable_async_dispatch", False)

Array: TypeAlias = jax.Array
Tensors: TypeAlias = dict[str, Array]
T = TypeVar("T")

OF = Operations(
    jnp.sqrt, lambda g: jnp.vdot(g, g), jnp.where, lambda a, like: jnp.asarray(a, like.dtype)
)


class Batches(NamedTuple):
    """Batches with room for more, as a program takes them.

    Attributes:
        X: shape (room, batch_size, inputs).
        y: shape (room, batch_size).
        weights: of the rows, shape (room, batch_size), 0 for rows that are none; None where all are and weigh 1.
    """

    X: Any
    y: Any
    weights: Any


class JaxBackend(Backend):
    name: ClassVar[str] = "jax"
    _programs: ClassVar[dict[Any, Callable[..., Any]]] = {}  # of the process

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._kind = np.dtype(dtype)
        self._device = _found()[device]
        self._staging = Staging()

    @classmethod
    def devices(cls) -> dict[str, str]:
        return {
            name: "" if name == "cpu" else device.device_kind for name, device in _found().items()
        }

    def _place(self, array: Floats) -> Array:
        """A copy always: XLA would compute on the caller's own memory where it can."""
        return jax.device_put(array.astype(self._kind), self._device, may_alias=False)

    def _fetch(self, tensor: Array) -> Any:
        return np.asarray(tensor)

    def predict(self, state: State, X: Floats) -> Floats:
        p = {parameter.name: state[parameter.name] for parameter in self.model.parameters}
        size = 256 if len(X) <= 256 else PREDICTED
        found = [np.empty(0)]
        for first in range(0, len(X), size):
            rows = X[first : first + size]
            with self._timed("transfer"):
                padded = self._staged("X", rows[np.newaxis], 1, size)[0]
                placed = self._moved(padded)
            run = self._program(("predict", size), self._predict, p, placed)
            scores = run(p, placed)
            found.append(np.array(scores, np.float64)[: len(rows)])
        return np.concatenate(found)

    def _predict(self, p: Tensors, X: Array) -> Array:
        if not self.model.layers:
            return _scores(self.model, X @ p["w"])
        answer = _answers(self.model, p, X.T)[-1]
        return _scores(self.model, _kept(self.model, answer, X.T))

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        p = {name: tensor for name, tensor in state.items() if name != "step"}
        step, (count, rows, _) = state["step"], X.shape
        batches = self._batches(X, y, weights, batch_size)
        losses, scores = [], None
        # The first pass alone where its scores are wanted.
        for some in (1, passes - 1) if self.model.classifies and passes > 1 else (passes,):
            p, lost, kept = self._run(p, batches, step, rows, count, some)
            losses.append(lost[:some, :count].ravel())
            if kept is not None and scores is None:
                scores = kept[:count, :rows]
            step += some * count
        return Steps({**p, "step": step}, np.concatenate(losses), scores)

    def _run(
        self, p: Tensors, batches: Batches, step: int, rows: int, count: int, passes: int
    ) -> tuple[Tensors, Floats, Floats | None]:
        """The parameters and slots after ``passes``; losses and scores, with what is in the room beside them."""
        with self._timed("transfer"):
            table = np.ones((room(passes), len(batches.X), 3), self._kind)
            table[:passes, :count] = self.descent.table(step, passes * count).reshape(
                passes, count, 3
            )
            counts = np.array([rows, count, passes], np.int32)
            placed = self._moved((table, counts))
        key = (batches.X.shape, batches.weights is None, len(table))
        run = self._program(key, self._passes, p, batches, *placed)
        p, losses, scores = jax.block_until_ready(run(p, batches, *placed))
        with self._timed("transfer"):
            return (
                p,
                np.array(losses, np.float64),
                None if scores is None else np.array(scores, np.float64),
            )

    def _program(self, key: Any, what: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
        """The function compiled for such arguments, on the device where they are."""
        key = (self.model, self.descent, self.device, self.dtype, key)
        if key not in self._programs:
            with self._timed("compile"):
                self._programs[key] = jax.jit(what).lower(*arguments).compile()
        return self._programs[key]

    def _batches(self, X: Floats, y: Floats, weights: Floats | None, batch_size: int) -> Batches:
        """The batches on the device."""
        with self._timed("transfer"):
            count = room(len(X))
            if weights is None and X.shape[1] < batch_size:
                weights = np.ones_like(y)
            staged = Batches(
                self._staged("X", X, count, batch_size),
                self._staged("y", y, count, batch_size),
                None if weights is None else self._staged("weights", weights, count, batch_size),
            )
            return self._moved(staged)

    def _moved(self, staged: T) -> T:
        """The arrays on the device. A program for the CPU computes on NumPy's own memory."""
        if self._device.platform == "cpu":
            return staged
        moved: T = jax.block_until_ready(jax.device_put(staged, self._device))
        return moved

    def _staged(self, name: str, array: Floats, count: int, batch_size: int) -> Floats:
        return self._staging.staged(name, array, (count, batch_size, *array.shape[2:]), self._kind)

    def _passes(
        self, p: Tensors, batches: Batches, table: Array, counts: Array
    ) -> tuple[Tensors, Array, Array | None]:
        """All steps of a call: passes over batches.

        Args:
            table: of the steps, shape (room for passes, room for batches, 3).
            counts: rows of a batch, batches, passes.

        Returns:
            the parameters and slots, losses (room for passes, room for batches), and the scores of the last pass
            (room for batches, batch_size) where the model classifies.
        """
        rows, count, passes = counts
        X, y, weights = batches
        columns = not self.model.layers and X.shape[2] <= NARROW and X.shape[1] >= TALL
        if columns:
            batches = batches._replace(X=jnp.swapaxes(X, 1, 2))
        scale = 1 / rows.astype(X.dtype)

        def one_pass(number: Array, carry: Any) -> Any:
            def one_step(i: Array, carry: Any) -> Any:
                p, kept = carry
                here = Batches(*(None if a is None else _at(a, i) for a in batches))
                found, gradient = _gradient(self.model, p, here, scale, columns)
                p = self.descent.stepped(self.model, p, gradient, tuple(table[number, i]), OF)
                return p, lax.dynamic_update_index_in_dim(kept, found, i, 0)

            p, kept, losses = carry
            p, kept = lax.fori_loop(0, count, one_step, (p, kept))
            lost = _losses(self.model, kept, y)
            lost = lost if weights is None else lost * weights
            row = lost.sum(axis=1) * scale
            return p, kept, lax.dynamic_update_index_in_dim(losses, row, number, 0)

        start = (p, jnp.zeros_like(y), jnp.zeros(table.shape[:2], table.dtype))
        p, kept, losses = lax.fori_loop(0, passes, one_pass, start)
        return p, losses, _scores(self.model, kept) if self.model.classifies else None


def _found() -> dict[str, jax.Device]:
    """The devices there are, by their names here."""
    found = {"cpu": jax.devices("cpu")[0]}
    if jax.default_backend() == "gpu":
        found |= {f"gpu:{number}": gpu for number, gpu in enumerate(jax.devices("gpu"))}
    return found


def _at(array: Array, i: Array) -> Array:
    return lax.dynamic_index_in_dim(array, i, keepdims=False, allow_negative_indices=False)


def _answers(model: Model, p: Tensors, x: Array) -> list[Array]:
    """What enters each layer, and the answer after the last, each of shape (units, rows).

    So lie the rows of a batch along the vectors of the processor, and products are twice as fast as by (rows, units).
    """
    found = [x]
    for number, layer in enumerate(model.layers, 1):
        # The barrier keeps XLA from multiplying by a matrix that it reads against its order in memory.
        W = lax.optimization_barrier(p[f"W{number}"].T)
        a = W @ found[-1] + p[f"b{number}"][:, np.newaxis]
        if layer.activation == "tanh":
            a = jnp.tanh(a)
        elif layer.activation == "relu":
            a = jnp.maximum(a, 0)
        found.append(a)
    return found


def _kept(model: Model, answer: Array, x: Array) -> Array:
    """What losses and scores follow from, one number for each row: the answer, or the error of a reconstruction."""
    return jnp.mean(jnp.square(answer - x), axis=0) if model.reconstructs else answer[0]


def _scores(model: Model, kept: Array) -> Array:
    return lax.logistic(kept) if model.loss == "log_loss" else kept


def _losses(model: Model, kept: Array, y: Array) -> Array:
    """The loss of each row."""
    if model.reconstructs:
        return kept
    if model.loss == "log_loss":
        return jnp.maximum(kept, 0) - kept * y + jnp.log1p(jnp.exp(-jnp.abs(kept)))
    return jnp.square(kept - y)


def _gradient(
    model: Model, p: Tensors, batch: Batches, scale: Array, columns: bool
) -> tuple[Array, Tensors]:
    """What is kept of a batch's rows, and the gradient of its loss.

    Args:
        scale: 1 / rows.
        columns: whether X has come as (inputs, rows), for a model without layers.
    """
    X, y, weights = batch
    if model.layers:
        x = lax.optimization_barrier(X.T)  # transposed once, not by each that reads it
        *inputs, answer = _answers(model, p, x)
        kept = _kept(model, answer, x)
        a, t = answer, x if model.reconstructs else y
    elif columns:
        # Column by column in one pass; a product of so few columns leaves most of a vector empty.
        kept = a = sum(x * w for x, w in zip(X, p["w"], strict=True))
        t = y
    else:
        kept = a = X @ p["w"]
        t = y
    if model.loss == "log_loss":
        delta = (lax.logistic(a) - t) * scale
    else:
        delta = (a - t) * (scale * 2 / (len(a) if model.reconstructs else 1))
    if weights is not None:
        delta = delta * weights
    if model.layers:
        return kept, _backwards(model, p, inputs, delta)
    return kept, {"w": X @ delta if columns else delta @ X}


def _backwards(model: Model, p: Tensors, inputs: list[Array], delta: Array) -> Tensors:
    """The gradient of a network, from ``delta`` = ∂ loss / ∂ answer, shape (outputs, rows)."""
    found = {}
    for number in range(len(model.layers), 0, -1):
        x = inputs[number - 1]
        found[f"W{number}"] = x @ delta.T
        found[f"b{number}"] = delta.sum(axis=1)
        if number > 1:
            delta = p[f"W{number}"] @ delta
            if model.layers[number - 2].activation == "tanh":
                delta = delta * (1 - x * x)
            elif model.layers[number - 2].activation == "relu":
                delta = jnp.where(x > 0, delta, 0)
    return found
