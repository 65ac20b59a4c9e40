"""A model of one's own: a dense network that predicts a number.

gradstream train --source regression_training --target Y --model mlp --layers 32,16 --standardise
"""

from __future__ import annotations

from itertools import pairwise

from trainers.models import Layer, Model


def mlp(features: int, bias: bool = True, inner: tuple[int, ...] = ()) -> Model:
    """y ≈ the output of tanh layers as wide as ``inner`` (--layers), then a linear one, by mean squared error.

    The model is data: any backend computes it, its gradient included. Layers have biases of their own, so the design
    matrix needs no column of ones and ``bias`` is not looked at.
    """
    *hidden, last = pairwise((features, *(inner or (16, 8)), 1))
    layers = [Layer(inputs, outputs, "tanh") for inputs, outputs in hidden]
    return Model(
        name="mlp",
        features=features,
        bias=False,
        loss="mean_squared_error",
        layers=(*layers, Layer(*last, "identity")),
    )
