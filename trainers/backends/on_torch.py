"""Gradient descent on PyTorch: an eager step of few calls, each into memory that is already there.

For batches of some hundred rows a call costs more than its arithmetic, so the step is told in as few as may be:

- All parameters lie in one vector, and each kind of slot in one more, so that an update takes the same few calls for
  one weight or a network. The tensors of a state are views of them.
- b lies right after its W, so that the two are one matrix [W; b]: with ones beside its inputs, a layer is one product
  and its gradient is another. Inside, activations are (units, rows), so what is above the ones is contiguous.
- Answers begin as the targets, so that one product gives the residuals: a = [x 1] [W; b] − a.
- Losses and scores are read from the answers to all batches together.

``torch.compile`` of a step was measured to be two to four times slower than this, after 10 to 50 s of compiling by a
C++ compiler that a user may not have: guards and the call of a compiled step cost more than the calls that it saves.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trainers.backends.base import Backend, State, Steps
from trainers.descent import Descent
from trainers.models import Activation, Floats, Model

Tensor: TypeAlias = torch.Tensor

# A batch of so many rows and so few columns is copied by columns: products are then 2 to 4 times as fast.
TALL, NARROW = 2048, 10
LARGE = 100_000  # numbers in a batch from which several threads may be faster than one


class TorchBackend(Backend):
    name: ClassVar[str] = "torch"

    def __init__(
        self, model: Model, descent: Descent, device: str = "cpu", dtype: str = "float64"
    ) -> None:
        super().__init__(model, descent, device, dtype)
        self._kind: torch.dtype = getattr(torch, dtype)
        self._device = torch.device(device.replace("gpu", "cuda"))
        self._tensors = (*model.parameters, *descent.slots(model))
        masks = [model.decayed(p.name).ravel() for p in model.parameters]
        self._decay = self._place(descent.l2 * np.concatenate(masks))

    @classmethod
    def devices(cls) -> dict[str, str]:
        with (
            warnings.catch_warnings()
        ):  # that there is no GPU here is an answer, whatever the driver says of it
            warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)
            gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        return {"cpu": "", **{f"gpu:{gpu}": torch.cuda.get_device_name(gpu) for gpu in gpus}}

    def _place(self, array: Floats) -> Tensor:
        """Shares the memory of an array that is as it must be: what is placed is never written to."""
        ready = np.require(array, np.float64, ["C", "W"])
        return torch.from_numpy(ready).to(self._device, self._kind)

    def _fetch(self, tensor: Tensor) -> Any:
        return tensor.cpu().numpy()

    def predict(self, state: State, X: Floats) -> Floats:
        with torch.inference_mode(), _threads(X.size):
            batches = self._batches(X[np.newaxis], np.zeros((1, len(X))), None)
            net = _net(self.model, self._vectors(state)[0], batches)
            batches.restart()
            net.forward(0)
            return self._fetched(batches.scores()).ravel()

    def _descend(
        self,
        state: State,
        X: Floats,
        y: Floats,
        weights: Floats | None,
        passes: int,
        batch_size: int,
    ) -> Steps:
        count = len(X)
        table = self._table(state, passes * count).tolist()
        with torch.inference_mode(), _threads(X[0].size):
            batches = self._batches(X, y, weights)
            vectors = self._vectors(state)
            net = _net(self.model, vectors[0], batches)
            losses = batches.answers.new_empty(passes, count)
            scores = None
            for number in range(passes):
                batches.restart()
                self._round(net, batches, vectors, table[number * count : (number + 1) * count])
                losses[number], found = batches.judged()
                scores = scores if number else found
            return Steps(
                {**self._named(vectors), "step": state["step"] + passes * count},
                self._fetched(losses).ravel(),
                None if scores is None else self._fetched(scores),
            )

    def _round(
        self, net: _Net, batches: _Batches, vectors: list[Tensor], table: list[list[float]]
    ) -> None:
        """One step for each batch, by its row of the table."""
        if self.descent.plain and not self.model.layers and batches.plain:
            _least_squares(vectors[0], batches, [rate for rate, _, _ in table])
            return
        for i, row in enumerate(table):
            net.forward(i)
            net.backward(i, batches.delta(i))
            self._update(vectors, net.gradient.mul_(batches.scale), row)

    def _update(self, vectors: list[Tensor], g: Tensor, row: list[float]) -> None:
        """Changes parameters and slots by one step; ``g`` is the gradient of the data's loss."""
        (p, *slots), (rate, first, second), how = vectors, row, self.descent
        if how.l2:
            g.addcmul_(self._decay, p)
        if how.clip is not None:
            # On the device, since a comparison here would have to wait for it. 0 gives inf, and that is 1 again.
            g.mul_(torch.clamp_(how.clip / torch.linalg.vector_norm(g), max=1))
        if how.optimizer == "sgd":
            p.add_(g, alpha=-rate)
        elif how.optimizer == "momentum":
            (m,) = slots
            p.add_(m.mul_(how.momentum).add_(g), alpha=-rate)
        else:
            m, v = slots
            m.mul_(how.beta1).add_(g, alpha=1 - how.beta1)
            v.mul_(how.beta2).addcmul_(g, g, value=1 - how.beta2)
            p.addcdiv_(
                m, torch.mul(v, second, out=g).sqrt_().add_(how.epsilon), value=-rate * first
            )

    def _batches(self, X: Floats, y: Floats, weights: Floats | None) -> _Batches:
        """What ``_descend`` is given, on the device."""
        with self._timed("transfer"):
            made = _Batches(
                self.model,
                self._place(X),
                self._place(y),
                None if weights is None else self._place(weights),
            )
            self._wait()
        return made

    def _fetched(self, tensor: Tensor) -> Floats:
        """A float64 array of the caller's own."""
        self._wait()
        with self._timed("transfer"):
            return np.array(self._fetch(tensor), np.float64)

    def _wait(self) -> None:
        """Until the device has done what it was asked to; only then may a clock be read."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _vectors(self, state: State) -> list[Tensor]:
        """Copies of all parameters and of each kind of slot, one vector each."""
        whole = torch.cat([state[tensor.name].reshape(-1) for tensor in self._tensors])
        return list(whole.view(len(self._tensors) // len(self.model.parameters), -1).unbind())

    def _named(self, vectors: list[Tensor]) -> dict[str, Tensor]:
        """The tensors of which the vectors consist."""
        sizes = [prod(p.shape) for p in self.model.parameters]
        pieces = [piece for vector in vectors for piece in vector.split(sizes)]
        return {t.name: piece.view(t.shape) for t, piece in zip(self._tensors, pieces, strict=True)}


class _Batches:
    """The batches of a call, and the model's answers to them.

    Attributes:
        size: rows of a batch.
        rows: each batch as (rows, inputs), of a network with a column of ones at the end.
        columns: the same as (inputs, rows).
        answers: shape (batches, rows), of a network (batches, rows, outputs): where the loss is of squares, less the
            target.
        each: the answers to each batch.
        beta: what an answer must be multiplied with before the product is added to it.
        scale: what ``delta`` must be multiplied with.
        plain: whether the loss is of squares, without row weights.
    """

    def __init__(self, model: Model, X: Tensor, y: Tensor, weights: Tensor | None) -> None:
        self._model = model
        self._target, self._weights = y, weights
        self.size = y.shape[1]
        if model.layers:
            self._target = X if model.reconstructs else y.unsqueeze(2)
            X = torch.cat([X, X.new_ones(*y.shape, 1)], dim=2)
        elif self.size >= TALL and X.shape[2] <= NARROW:
            X = X.transpose(1, 2).contiguous().transpose(1, 2)
        self.rows, self.columns = X.unbind(), X.transpose(1, 2).unbind()
        self.answers = torch.empty_like(self._target)
        self.each = self.answers.unbind()
        self._logs = model.loss == "log_loss"
        self.plain = not self._logs and weights is None
        self.beta = 0 if self._logs else -1
        self.scale = (1 if self._logs else 2) / self.each[0].numel()
        self._delta = torch.empty_like(self.each[0])

    def restart(self) -> None:
        """Before each pass."""
        if not self._logs:
            self.answers.copy_(self._target)

    def delta(self, i: int) -> Tensor:
        """∂ loss / ∂ answer of a batch whose answers are there, but for the factor ``scale``."""
        delta = self.each[i]
        if self._logs:
            delta = torch.sigmoid(delta, out=self._delta).sub_(self._target[i])
        if self._weights is not None:
            weights = self._weights[i].view(-1, *[1] * (delta.dim() - 1))
            delta = torch.mul(delta, weights, out=self._delta)
        return delta

    def scores(self) -> Tensor:
        """What ``predict`` says of each row, shape (batches, rows), once the answers are there."""
        if self._logs:
            return torch.sigmoid(self.answers).flatten(1)
        if self._model.reconstructs:
            return _mean_square(self.answers)
        return self.answers.flatten(1)

    def judged(self) -> tuple[Tensor, Tensor | None]:
        """The loss of each batch, and the scores where the model classifies, once the answers are there."""
        scores = self.scores() if self._model.classifies else None
        if self.plain and scores is None:
            return _mean_square(self.answers.flatten(1)), None
        if self._logs:
            target = self._target
            each = binary_cross_entropy_with_logits(self.answers, target, reduction="none")
        else:
            each = self.answers.square() if scores is None else scores
        if self._weights is not None:
            each = each.flatten(1) * self._weights
        return each.flatten(1).mean(1), scores


def _mean_square(a: Tensor) -> Tensor:
    """Over the last dimension, without the squares in memory."""
    return torch.linalg.vector_norm(a, dim=-1).square_().div_(a.shape[-1])


class _Weights:
    """The model without layers: the answer x · w."""

    def __init__(self, w: Tensor, batches: _Batches) -> None:
        self._w, self._batches = w, batches
        self.gradient = torch.empty_like(w)

    def forward(self, i: int) -> None:
        """Answers to batch i."""
        self._batches.each[i].addmv_(self._batches.rows[i], self._w, beta=self._batches.beta)

    def backward(self, i: int, delta: Tensor) -> None:
        """The gradient from ∂ loss / ∂ answer."""
        torch.mv(self._batches.columns[i], delta, out=self.gradient)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The tensors of a layer; those that a step reads in two ways are here as two views of one memory.

    Attributes:
        whole, across: [W; b] as (inputs + 1, outputs), and the other way round.
        W: (inputs, outputs).
        slope: of the loss by [W; b].
        active, answer: activations above ones as (outputs + 1, rows), and without the ones.
        delta, delta_across: of the loss by what went into the activation, (outputs, rows) and the other way round.
    """

    activation: Activation
    whole: Tensor
    across: Tensor
    W: Tensor
    slope: Tensor
    active: Tensor
    answer: Tensor
    delta: Tensor
    delta_across: Tensor


class _Network:
    """The model with layers."""

    def __init__(self, model: Model, p: Tensor, batches: _Batches) -> None:
        self._batches = batches
        self.gradient = torch.empty_like(p)
        sizes = [(layer.inputs + 1) * layer.outputs for layer in model.layers]
        self._layers = []
        parts = zip(model.layers, p.split(sizes), self.gradient.split(sizes), strict=True)
        for layer, piece, slope in parts:
            whole = piece.view(layer.inputs + 1, layer.outputs)
            active = p.new_ones(layer.outputs + 1, batches.size)
            delta = p.new_empty(layer.outputs, batches.size)
            self._layers.append(
                _Layer(
                    layer.activation,
                    whole,
                    whole.t(),
                    whole[:-1],
                    slope.view_as(whole),
                    active,
                    active[:-1],
                    delta,
                    delta.t(),
                )
            )

    def forward(self, i: int) -> None:
        """Answers to batch i."""
        x = self._batches.columns[i]
        for layer in self._layers[:-1]:
            torch.mm(layer.across, x, out=layer.answer)
            if layer.activation == "tanh":
                layer.answer.tanh_()
            elif layer.activation == "relu":
                layer.answer.relu_()
            x = layer.active
        self._batches.each[i].addmm_(x.t(), self._layers[-1].whole, beta=self._batches.beta)

    def backward(self, i: int, delta: Tensor) -> None:
        """The gradient from ∂ loss / ∂ answer. Overwrites the activations."""
        delta, across = delta.t(), delta
        for below, layer in reversed(list(pairwise(self._layers))):
            torch.mm(below.active, across, out=layer.slope)
            torch.mm(layer.W, delta, out=below.delta)
            delta, across = below.delta, below.delta_across
            if below.activation == "tanh":
                delta.addcmul_(delta, below.answer.square_(), value=-1)
            elif below.activation == "relu":
                delta.mul_(below.answer.sign_())
        torch.mm(self._batches.columns[i], across, out=self._layers[0].slope)


_Net: TypeAlias = _Weights | _Network


def _net(model: Model, p: Tensor, batches: _Batches) -> _Net:
    return _Network(model, p, batches) if model.layers else _Weights(p, batches)


def _least_squares(w: Tensor, batches: _Batches, rates: list[float]) -> None:
    """Plain steps of the linear model, in two calls a batch."""
    parts = zip(batches.rows, batches.columns, batches.each, rates, strict=True)
    for rows, columns, residuals, rate in parts:
        residuals.addmv_(rows, w, beta=-1)
        w.addmv_(columns, residuals, alpha=-rate * batches.scale)


@contextmanager
def _threads(numbers: int) -> Iterator[None]:
    """One thread, unless OMP_NUM_THREADS asks for more and a batch has enough numbers for them. Handing out the parts
    of a small one takes longer than its work, and on a machine that is busy, ten times as long. The same number is
    used from run to run, so sums are too. What others in the process have set comes back at the end.
    """
    before = torch.get_num_threads()
    asked = "OMP_NUM_THREADS" in os.environ and numbers >= LARGE
    torch.set_num_threads(before if asked else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
