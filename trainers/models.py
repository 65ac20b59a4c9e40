"""Models as data: the shapes of their parameters and their loss. The arithmetic is in the backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from gradstream.errors import ConfigError, UsageError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor that is learned: its name in weights records and its shape."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What a backend must know of a model.

    Attributes:
        name: as on the command line and in weights records.
        features: number of feature columns.
        bias: whether the model has an intercept. The design matrix then begins with a column of ones, so an
            intercept costs no extra operation: for the linear model ``w[0]`` is the intercept and ``w[1:]`` are the
            features in the order of the job.
        loss: what a step lowers: ``mean_squared_error`` = mean((X w − y)²).
        parameters: all that is learned, in the order in which it is exported.
    """

    name: str
    features: int
    bias: bool
    loss: Literal["mean_squared_error"]
    parameters: tuple[Parameter, ...]

    @property
    def inputs(self) -> int:
        """Columns of the design matrix: the features, and the column of ones before them if there is a bias."""
        return self.features + self.bias

    def design(self, features: Floats) -> Floats:
        """The design matrix (n, inputs) of feature rows (n, features)."""
        matrix = np.ones((len(features), self.inputs))
        matrix[:, int(self.bias) :] = features
        return matrix

    def checked(self, tensors: Mapping[str, Floats]) -> dict[str, Floats]:
        """The parameters among ``tensors``, as float64.

        Raises:
            ConfigError: WRONG_SHAPE when one is missing or has another shape.
        """
        found = {}
        for parameter in self.parameters:
            values = tensors.get(parameter.name)
            if values is None or values.shape != parameter.shape:
                got = "missing" if values is None else f"of shape {values.shape}"
                raise ConfigError(
                    "WRONG_SHAPE",
                    f"parameter {parameter.name!r} of model {self.name!r} is {got}, not of shape "
                    f"{parameter.shape}; give the features the weights were trained on, or a new --run",
                )
            found[parameter.name] = np.array(values, np.float64)
        return found


def linear(features: int, bias: bool = True) -> Model:
    """y ≈ w[0] + w[1] x1 + … + w[d] xd by mean squared error; starts at w = 0."""
    return Model(
        "linear", features, bias, "mean_squared_error", (Parameter("w", (features + bias,)),)
    )


MODELS: dict[str, Callable[[int, bool], Model]] = {"linear": linear}


def get(name: str, features: int, bias: bool = True) -> Model:
    """The named model for so many features.

    Raises:
        UsageError: UNKNOWN_MODEL, naming those there are.
    """
    if name not in MODELS:
        raise UsageError(
            "UNKNOWN_MODEL", f"no model {name!r}; give --model one of: {', '.join(MODELS)}"
        )
    return MODELS[name](features, bias)
