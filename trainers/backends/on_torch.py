"""Gradient descent on PyTorch: an eager step of few calls, each into memory that is already there.

For batches of some hundred rows a call costs more than its arithmetic, so the step is told in as few as may be:

- All parameters lie in one vector, and each kind of slot in one more, so that an update takes the same few calls for
  one weight or a network. The tensors of a state are views of them.
- b lies right after its W, so that the two are one matrix [W; b]: with ones beside its inputs, a layer is one product
  and its gradient is another. Inside, activations are (units, rows), so what is above the ones is contiguous.
- Answers begin as the targets, so that one product gives the residuals: a = [x 1] [W; b] − a.
- Losses and scores are read from the answers to all batches together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trainers.backends.base import Backend, State, Steps
from trainers.descent import Descent
from trainers.models import Activation, Floats, Model

Tensor: TypeAlias = torch.Tensor

TALL = 2048  # rows of a batch from which products by columns are so much faster that a copy pays
LARGE = 100_000  # numbers in a batch from which several threads are faster than one


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
            _, scores = batches.judged()
            return self._fetched(batches.answers if scores is None else scores).reshape(len(X))

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
        sizes = [int(np.prod(p.shape)) for p in self.model.parameters]
        pieces = [piece for vector in vectors for piece in vector.split(sizes)]
        return {t.name: piece.view(t.shape) for t, piece in zip(self._tensors, pieces, strict=True)}


class _Batches:
    """The batches of a call, and the model's answers to them.

    Attributes:
        rows: each batch as (rows, inputs), of a network with a column of ones at the end.
        columns: the same as (inputs, rows).
        answers: shape (batches, rows), of a network (batches, rows, outputs): where the loss is of squares, less the
            target.
        each: the answers to each batch.
        beta: what an answer must be multiplied with before the product is added to it.
        scale: what ``delta`` must be multiplied with.
    """

    def __init__(self, model: Model, X: Tensor, y: Tensor, weights: Tensor | None) -> None:
        self._model = model
        self._target, self._weights = y, weights
        if model.layers:
            self._target = X if model.reconstructs else y.unsqueeze(2)
            X = torch.cat([X, X.new_ones(*y.shape, 1)], dim=2)
        elif y.shape[1] >= TALL:
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

    def judged(self) -> tuple[Tensor, Tensor | None]:
        """The loss of each batch, and the score of each row where the model classifies."""
        scores = None
        if self._logs:
            losses = binary_cross_entropy_with_logits(self.answers, self._target, reduction="none")
            scores = torch.sigmoid(self.answers).flatten(1)
        else:
            losses = self.answers.square()
        if self._model.layers:
            losses = losses.mean(2)
        if self._model.reconstructs:
            scores = losses
        if self._weights is not None:
            losses = losses * self._weights
        return losses.mean(1), scores


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


class _Network:
    """The model with layers."""

    def __init__(self, model: Model, p: Tensor, batches: _Batches) -> None:
        self._batches = batches
        self.gradient = torch.empty_like(p)
        self._kinds: list[Activation] = [layer.activation for layer in model.layers[:-1]]
        shapes = [(layer.inputs + 1, layer.outputs) for layer in model.layers]
        sizes = [inputs * outputs for inputs, outputs in shapes]

        def matrices(vector: Tensor) -> list[Tensor]:
            pieces = zip(vector.split(sizes), shapes, strict=True)
            return [piece.view(shape) for piece, shape in pieces]

        self._whole = matrices(p)  # [W; b]
        self._slopes = matrices(self.gradient)
        inside = [layer.outputs for layer in model.layers[:-1]]
        rows = batches.answers.shape[1]
        self._hidden = [p.new_ones(units + 1, rows) for units in inside]
        self._deltas = [p.new_empty(units, rows) for units in inside]

    def forward(self, i: int) -> None:
        """Answers to batch i."""
        x = self._batches.columns[i]
        for whole, hidden, kind in zip(self._whole, self._hidden, self._kinds, strict=False):
            a = torch.mm(whole.t(), x, out=hidden[:-1])
            if kind == "tanh":
                a.tanh_()
            elif kind == "relu":
                a.relu_()
            x = hidden
        self._batches.each[i].addmm_(x.t(), self._whole[-1], beta=self._batches.beta)

    def backward(self, i: int, delta: Tensor) -> None:
        """The gradient from ∂ loss / ∂ answer."""
        down = delta.t()
        for number in range(len(self._hidden), 0, -1):
            hidden = self._hidden[number - 1]
            torch.mm(hidden, down.t(), out=self._slopes[number])
            down = torch.mm(self._whole[number][:-1], down, out=self._deltas[number - 1])
            _through(self._kinds[number - 1], hidden[:-1], down)
        torch.mm(self._batches.columns[i], down.t(), out=self._slopes[0])


_Net: TypeAlias = _Weights | _Network


def _net(model: Model, p: Tensor, batches: _Batches) -> _Net:
    return _Network(model, p, batches) if model.layers else _Weights(p, batches)


def _through(kind: Activation, a: Tensor, delta: Tensor) -> None:
    """Multiplies ``delta`` with the slope of the activation that answered ``a``, and overwrites ``a``."""
    if kind == "tanh":
        delta.addcmul_(delta, a.square_(), value=-1)
    elif kind == "relu":
        delta.mul_(a.sign_())


def _least_squares(w: Tensor, batches: _Batches, rates: list[float]) -> None:
    """Plain steps of the linear model, in two calls a batch."""
    parts = zip(batches.rows, batches.columns, batches.each, rates, strict=True)
    for rows, columns, residuals, rate in parts:
        residuals.addmv_(rows, w, beta=-1)
        w.addmv_(columns, residuals, alpha=-rate * batches.scale)


@contextmanager
def _threads(numbers: int) -> Iterator[None]:
    """One thread for a batch of so few numbers that handing out its parts would take longer than the work. The number
    that the process is set to for others, which is the same from run to run, and with it every sum.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if numbers < LARGE else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
