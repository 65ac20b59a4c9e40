"""Models as data: their parameters, layers and loss. The arithmetic is in the backends.

    y ≈ w · x                  linear       mean squared error
    p = 1 / (1 + exp(−w · x))  logistic     log loss
    x ≈ decode(encode(x))      autoencoder  mean squared error of the features themselves

A package of your own adds to them through the entry point group ``gradstream.models``; see docs/plug-ins.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gradstream.errors import ConfigError, UsageError
from trainers import aligned

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Activation: TypeAlias = Literal["identity", "tanh", "relu"]
Loss: TypeAlias = Literal["mean_squared_error", "log_loss"]

INNER = (
    14,
    7,
    7,
)  # layers between the first and the last of an autoencoder, unless others are given
ENTRY_POINTS = "gradstream.models"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that is learned or kept from step to step: its name in weights records and its shape."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """activation(x W + b), W of shape (inputs, outputs), b of shape (outputs,)."""

    inputs: int
    outputs: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class Model:
    """What a backend must know of a model.

    Without layers, the model is one weight for each column of the design matrix, the tensor ``w``. With layers, it is
    a dense network with the tensors ``W1``, ``b1``, ``W2``, … and a design matrix of the features alone.

    Attributes:
        name: as on the command line and in weights records.
        features: number of feature columns.
        bias: whether the design matrix begins with a column of ones, so that an intercept costs no extra operation:
            ``w[0]`` is then the intercept and ``w[1:]`` are the features in the order of the job. Without layers only.
        loss: what a step lowers, as a mean over the rows (and outputs) of a batch:
            ``mean_squared_error`` (a − t)², ``log_loss`` −t ln p − (1 − t) ln(1 − p) with p = 1 / (1 + exp(−a)).
            With row weights s: Σ s · loss of the row / number of rows.
        layers: of a network, from input to output.
        reconstructs: whether t is the row itself. The column that a job names as its target is then a label that only
            decides which rows are learned from, and which anomalies were to be found.
    """

    name: str
    features: int
    bias: bool
    loss: Loss
    layers: tuple[Layer, ...] = ()
    reconstructs: bool = False

    def __post_init__(self) -> None:
        wrong = ""
        if self.layers:
            outputs = self.features if self.reconstructs else 1
            ends = [self.features, *(layer.outputs for layer in self.layers)]
            starts = [*(layer.inputs for layer in self.layers), outputs]
            if self.bias:
                wrong = "layers have biases of their own, so give bias=False"
            elif ends != starts:
                wrong = f"layers must lead from {self.features} features to {outputs} outputs without a gap"
            elif self.layers[-1].activation != "identity":
                wrong = "the last layer's activation must be identity"
        elif self.reconstructs:
            wrong = "without layers there is nothing that could reconstruct the features"
        if wrong:
            raise ConfigError("BAD_MODEL", f"model {self.name!r}: {wrong}")

    @property
    def inputs(self) -> int:
        """Columns of the design matrix: the features, and the column of ones before them if there is a bias."""
        return self.features + self.bias

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All that is learned, in the order in which it is exported."""
        if not self.layers:
            return (Parameter("w", (self.inputs,)),)
        return tuple(
            parameter
            for number, layer in enumerate(self.layers, 1)
            for parameter in (
                Parameter(f"W{number}", (layer.inputs, layer.outputs)),
                Parameter(f"b{number}", (layer.outputs,)),
            )
        )

    @property
    def classifies(self) -> bool:
        """Whether a row's score ranks it between two classes: a probability, or the error of its reconstruction."""
        return self.loss == "log_loss" or self.reconstructs

    def start(self, seed: int) -> dict[str, Floats]:
        """The parameters before the first step: zeros without layers; else W uniform in ±√(6 / (inputs + outputs))
        (Glorot and Bengio 2010) by a generator of the seed alone, b zero.
        """
        found = {p.name: np.zeros(p.shape) for p in self.parameters}
        generator = np.random.Generator(np.random.PCG64(seed))
        for number, layer in enumerate(self.layers, 1):
            bound = np.sqrt(6 / (layer.inputs + layer.outputs))
            found[f"W{number}"] = generator.uniform(-bound, bound, (layer.inputs, layer.outputs))
        return found

    def decayed(self, name: str) -> Floats:
        """1 for each number of the parameter that an L2 penalty pulls to zero, 0 for intercepts."""
        shape = next(p.shape for p in self.parameters if p.name == name)
        mask = np.zeros(shape) if name.startswith("b") else np.ones(shape)
        if self.bias and name == "w":
            mask[0] = 0
        return mask

    def design(self, features: Floats) -> Floats:
        """The design matrix (n, inputs) of feature rows (n, features)."""
        matrix = aligned.ones(len(features), self.inputs)
        matrix[:, int(self.bias) :] = features
        return matrix


def checked(
    tensors: Mapping[str, Floats], wanted: tuple[Parameter, ...], model: str
) -> dict[str, Floats]:
    """The wanted ones among ``tensors``, as float64 arrays of the caller's own.

    Raises:
        ConfigError: WRONG_SHAPE when one is missing or has another shape.
    """
    found = {}
    for parameter in wanted:
        values = tensors.get(parameter.name)
        if values is None or values.shape != parameter.shape:
            got = "missing" if values is None else f"of shape {values.shape}"
            raise ConfigError(
                "WRONG_SHAPE",
                f"tensor {parameter.name!r} of model {model!r} is {got}, not of shape {parameter.shape}; "
                "give the features, layers and optimizer that the weights were trained with, or a new --run",
            )
        found[parameter.name] = np.array(values, np.float64)
    return found


Make: TypeAlias = Callable[[int, bool, tuple[int, ...]], Model]


def linear(features: int, bias: bool = True, inner: tuple[int, ...] = ()) -> Model:
    """y ≈ w[0] + w[1] x1 + … + w[d] xd by mean squared error; starts at w = 0."""
    return Model("linear", features, bias, "mean_squared_error")


def logistic(features: int, bias: bool = True, inner: tuple[int, ...] = ()) -> Model:
    """P(y = 1) = 1 / (1 + exp(−(w[0] + w[1] x1 + … + w[d] xd))) by log loss; starts at w = 0."""
    return Model("logistic", features, bias, "log_loss")


def autoencoder(features: int, bias: bool = True, inner: tuple[int, ...] = ()) -> Model:
    """Learns to give back its own features through narrow inner layers; what it gives back badly is unusual.

    Args:
        inner: widths of the layers between; for the 30 features of the fraud schema the default gives 30-14-7-7-30.
            They are tanh and ReLU in turn, and the output is linear, since standardised features are negative too.
    """
    widths = (features, *(inner or INNER), features)
    kinds: tuple[Activation, ...] = ("tanh", "relu")
    layers = [
        Layer(widths[i], widths[i + 1], kinds[i % 2] if i < len(widths) - 2 else "identity")
        for i in range(len(widths) - 1)
    ]
    return Model("autoencoder", features, False, "mean_squared_error", tuple(layers), True)


MODELS: dict[str, Make] = {"linear": linear, "logistic": logistic, "autoencoder": autoencoder}


def names() -> list[str]:
    """Models there are, those of plug-ins included."""
    return [*MODELS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))]


def get(name: str, features: int, bias: bool = True, inner: tuple[int, ...] = ()) -> Model:
    """The named model for so many features.

    Raises:
        UsageError: UNKNOWN_MODEL, naming those there are.
    """
    make = MODELS.get(name)
    if make is None:
        found = entry_points(group=ENTRY_POINTS, name=name)
        if not found:
            near = get_close_matches(name.lower(), names(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                "UNKNOWN_MODEL",
                f"no model {name!r}; {hint}give --model one of: {', '.join(names())}",
            )
        make = next(iter(found)).load()
    return make(features, bias, inner)
