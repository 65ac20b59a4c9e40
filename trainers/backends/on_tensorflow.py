"""Gradient descent on TensorFlow: one XLA program with a loop over the batches of a call and the passes over them.

XLA compiles for shapes, and a call may bring any number of batches, the last of any number of rows. So rows are padded
to whole batches, batches to the next of a few counts (``_room``), and where the loop begins and how long it runs is an
argument: what is beyond is never read. The body of the loop is the same whatever the count, so how batches are grouped
into calls changes no bit. For the same reason one thread computes, unless the user has set another number before
(``tf.config.threading``): several may split a sum differently from run to run.

``spent["compile"]`` is tracing and a first call that takes no step, since XLA compiles in the first call.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from trainers.backends.base import Backend, State, Steps
from trainers.backends.xla import NARROW, PREDICTED, TALL, Staging, room
from trainers.descent import Descent, Operations
from trainers.models import Floats, Model


@contextmanager
def _quiet() -> Iterator[None]:
    """Loads TensorFlow without its greetings, unless the user has set how much it is to tell.

    Its libraries write some lines to file descriptor 2 as they are mapped, before they look at that setting. What is
    written meanwhile is held back and passed on, but for these. The setting is 3, since what is told as an error later
    is at best that there is no GPU; errors are raised as well.
    """
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    if level is not None and not (level == "1" and "jax" in sys.modules):  # JAX sets 1 for itself
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not line.startswith((b"WARNING: All log messages before absl::", b"I0000 ")):
                    os.write(2, line)


with _quiet():
    import tensorflow as tf

Tensor: TypeAlias = tf.Tensor
Tensors: TypeAlias = dict[str, Tensor]

OF = Operations(
    tf.sqrt,
    lambda g: tf.reduce_sum(tf.square(g)),
    tf.where,
    lambda a, like: tf.constant(a, like.dtype),
)
STEPS = 1024  # at most in a call of a program


def _configure() -> None:
    """Before TensorFlow starts computing; a process where it already has keeps its own settings."""
    with suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # else it takes all memory at once
        if not tf.config.threading.get_intra_op_parallelism_threads():
            tf.config.threading.set_intra_op_parallelism_threads(1)


_configure()


class TensorflowBackend(Backend):
    name: ClassVar[str] = "tensorflow"

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._kind = np.dtype(dtype)
        self._device = "/CPU:0" if device == "cpu" else f"/GPU:{device.removeprefix('gpu:')}"
        self._names = [p.name for p in (*model.parameters, *descent.slots(model))]
        self._programs: dict[Any, Any] = {}
        self._staging = Staging()

    @classmethod
    def devices(cls) -> dict[str, str]:
        found = {"cpu": ""}
        for number, gpu in enumerate(tf.config.get_visible_devices("GPU")):
            details = tf.config.experimental.get_device_details(gpu)
            found[f"gpu:{number}"] = str(details.get("device_name", ""))
        return found

    def _place(self, array: Floats) -> Tensor:
        """A copy: a tensor may not share memory that its owner may change."""
        with tf.device(self._device):
            return tf.constant(array.astype(self._kind))

    def _fetch(self, tensor: Tensor) -> Any:
        return tensor.numpy()

    def predict(self, state: State, X: Floats) -> Floats:
        size = 256 if len(X) <= 256 else PREDICTED
        found = [np.empty(0)]
        for first in range(0, len(X), size):
            rows = X[first : first + size]
            placed = self._staged("X", rows[np.newaxis], (1, size, X.shape[1]))
            parameters = [state[p.name] for p in self.model.parameters]
            (scores,) = self._call(_predicting, (size,), [placed, *parameters])
            with self._timed("transfer"):
                found.append(self._fetch(scores)[: len(rows)].astype(np.float64))
        return np.concatenate(found)

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        (count, rows, inputs), places = X.shape, room(len(X))
        if weights is None and rows < batch_size:
            weights = np.ones_like(y)  # beside the 0 of rows that are none
        batches = [self._staged("X", X, (places, batch_size, inputs))]
        batches.append(self._staged("y", y, (places, batch_size)))
        if weights is not None:
            batches.append(self._staged("weights", weights, (places, batch_size)))
        tensors, steps = [state[name] for name in self._names], passes * count
        losses, table = np.empty(steps), self._table(state, steps)
        scores = np.empty((count, rows)) if self.model.classifies else None
        done = 0
        while done < steps:
            first, now = done % count, min(STEPS, steps - done)
            wanted = scores is not None and done < count
            if wanted:  # no further than the end of the first pass
                now = min(now, count - done)
            counts = np.array([[rows, count, first, now]], np.int32)
            plan = self._staged("table", table[done : done + now], (STEPS, 3))
            arguments = [self._staged("counts", counts, (1, 4)), plan, *batches, *tensors]
            shape = (places, batch_size, weights is not None)
            lost, *tensors = self._call(_descending, shape, arguments)
            if scores is not None:
                kept, *tensors = tensors
            with self._timed("transfer"):
                losses[done : done + now] = self._fetch(lost)[:now]
                if scores is not None and wanted:
                    scores[first : first + now] = self._fetch(kept)[first : first + now, :rows]
            done += now
        state = {**dict(zip(self._names, tensors, strict=True)), "step": state["step"] + steps}
        return Steps(state, losses, scores)

    def _call(
        self, make: Callable[..., Any], shape: tuple[Any, ...], arguments: list[Tensor]
    ) -> Sequence[Tensor]:
        """What the program gives that ``make`` compiles for such a shape."""
        with tf.device(self._device):
            if (make, shape) not in self._programs:
                with self._timed("compile"):
                    program = make(self.model, self.descent, self.dtype, self._device, *shape)
                    self._programs[make, shape] = program
            # Past the checks of names and types of a public call, which take longer than some batches.
            found: Sequence[Tensor] = self._programs[make, shape].inference_fn.call_flat(*arguments)
            self._synchronise()
        return found

    def _synchronise(self) -> None:
        if self.device != "cpu":
            tf.test.experimental.sync_devices()

    def _staged(self, name: str, array: npt.NDArray[Any], shape: tuple[int, ...]) -> Tensor:
        """The array (count, rows, …) as a program takes it, on its device; on the CPU without a further copy."""
        with self._timed("transfer"):
            kind = array.dtype if array.dtype == np.int32 else self._kind
            array = self._staging.staged(name, array, shape, kind)
            if self.device == "cpu":
                return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
            with tf.device(self._device):
                placed = tf.constant(array)
            self._synchronise()
            return placed


def _compiled(run: Callable[..., Any], specs: list[Any]) -> Any:
    """The function as a program, compiled by a call in which everything is 0."""
    exact = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # of float32's 24 bits it has 11
    try:
        traced = tf.function(run, jit_compile=True, autograph=False).get_concrete_function(*specs)
        traced.inference_fn.call_flat(*(tf.zeros(spec.shape, spec.dtype) for spec in specs))
        tf.test.experimental.sync_devices()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(exact)
    return traced


@lru_cache(maxsize=64)
def _predicting(model: Model, descent: Descent, dtype: str, device: str, rows: int) -> Any:
    """The program: X (1, rows, inputs) and parameters to scores (rows,)."""
    names = [p.name for p in model.parameters]

    def run(X: Tensor, *parameters: Tensor) -> list[Tensor]:
        answer = _answer(model, dict(zip(names, parameters, strict=True)), X[0])
        return [_scores(model, answer, X[0])]

    shapes = [(1, rows, model.inputs), *(p.shape for p in model.parameters)]
    return _compiled(run, [tf.TensorSpec(shape, dtype) for shape in shapes])


@lru_cache(maxsize=64)
def _descending(
    model: Model,
    descent: Descent,
    dtype: str,
    device: str,
    room: int,
    size: int,
    weighted: bool,
) -> Any:
    """The program of steps over batches in turn.

    Its arguments are counts (1, 4): rows of a batch, batches, number of the first batch, steps; the steps' table
    (STEPS, 3); X (room, size, inputs), y and, where ``weighted``, weights (room, size); parameters and slots. It gives
    losses (STEPS,), scores (room, size), and parameters and slots.
    """
    kept = (*model.parameters, *descent.slots(model))
    columns = not model.layers and model.inputs <= NARROW and size >= TALL

    def run(counts: Tensor, table: Tensor, *others: Tensor) -> list[Tensor]:
        batches, tensors = others[: 2 + weighted], others[2 + weighted :]
        rows, count, first, steps = tf.unstack(counts[0])
        if columns:
            batches = (tf.transpose(batches[0], (0, 2, 1)), *batches[1:])
        scale = 1 / tf.cast(rows, dtype)

        def one_step(k: Tensor, i: Tensor, losses: Any, scores: Any, p: Tensors) -> Any:
            batch = [tf.gather(array, i) for array in batches]
            loss, found, gradient = _gradient(model, p, scale, columns, *batch)
            p = descent.stepped(model, p, gradient, tf.unstack(tf.gather(table, k)), OF)
            scores = scores.write(i, found) if model.classifies else scores
            return k + 1, tf.where(i + 1 < count, i + 1, 0), losses.write(k, loss), scores, p

        losses = tf.TensorArray(dtype, STEPS, element_shape=())
        scores = tf.TensorArray(dtype, room, element_shape=(size,))
        start = {p.name: tensor for p, tensor in zip(kept, tensors, strict=True)}
        _, _, losses, scores, end = tf.while_loop(
            lambda k, *_: k < steps, one_step, (0, first, losses, scores, start)
        )
        found = [scores.stack()] if model.classifies else []
        return [losses.stack(), *found, *(end[p.name] for p in kept)]

    batches = [(room, size, model.inputs), *[(room, size)] * (1 + weighted)]
    shapes = [(STEPS, 3), *batches, *(p.shape for p in kept)]
    specs = [tf.TensorSpec(shape, dtype) for shape in shapes]
    return _compiled(run, [tf.TensorSpec((1, 4), tf.int32), *specs])


def _answer(model: Model, p: Tensors, X: Tensor, columns: bool = False) -> Tensor:
    """The last layer's outputs, shape (rows,) where there is one. With ``columns`` X is (inputs, rows)."""
    if columns:
        pairs = zip(tf.unstack(X), tf.unstack(p["w"]), strict=True)
        return tf.add_n([x * w for x, w in pairs])
    if not model.layers:
        return tf.linalg.matvec(X, p["w"])
    a = X
    for number, layer in enumerate(model.layers, 1):
        a = a @ p[f"W{number}"] + p[f"b{number}"]
        if layer.activation == "tanh":
            a = tf.tanh(a)
        elif layer.activation == "relu":
            a = tf.nn.relu(a)
    return a if model.reconstructs else a[:, 0]


def _scores(model: Model, answer: Tensor, X: Tensor) -> Tensor:
    if model.reconstructs:
        return tf.reduce_mean(tf.square(answer - X), axis=1)
    return _sigmoid(answer) if model.loss == "log_loss" else answer


def _sigmoid(a: Tensor) -> Tensor:
    """1 / (1 + e^−a) without overflow, exact for small answers too."""
    e = tf.exp(-tf.abs(a))
    return tf.where(a >= 0, tf.ones_like(a), e) / (1 + e)


def _gradient(
    model: Model,
    p: Tensors,
    scale: Tensor,
    columns: bool,
    X: Tensor,
    y: Tensor,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensors]:
    """Loss of a batch, scores of its rows, and the gradient of the data's loss; ``scale`` is 1 / rows."""
    names = [parameter.name for parameter in model.parameters]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([p[name] for name in names])
        answer = _answer(model, p, X, columns)
    scores = _scores(model, answer, X)
    each = None
    if model.loss == "log_loss":
        each = tf.maximum(answer, 0) - answer * y + tf.math.log1p(tf.exp(-tf.abs(answer)))
        delta, factor = scores - y, scale
    elif model.reconstructs:
        each, delta, factor = scores, answer - X, scale * (2 / model.features)
    else:
        delta, factor = answer - y, scale * 2
    plain = delta
    if weights is not None:
        each = None if each is None else each * weights
        delta = delta * (weights[:, tf.newaxis] if model.reconstructs else weights)
    # Squares as a product: one operation of XLA's instead of three.
    loss = tf.tensordot(plain, delta, 1) if each is None else tf.reduce_sum(each)
    if columns:
        gradient = [tf.linalg.matvec(X, delta)]
    else:
        gradient = tape.gradient(answer, [p[name] for name in names], delta)
    # The factor comes last, on few numbers: before, XLA would work it into the product, row by row for each weight.
    found = {name: g * factor for name, g in zip(names, gradient, strict=True)}
    return loss * scale, scores, found
