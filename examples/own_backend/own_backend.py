"""A backend of one's own: plain descent of linear and logistic models in two BLAS calls a batch.

gradstream train --source regression_training --target Y --backend blas
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import get_blas_funcs
from scipy.special import expit

from gradstream.errors import UsageError
from trainers.backends import Backend, State, Steps
from trainers.models import Floats


class BlasBackend(Backend):
    name = "blas"

    def __init__(self, *how: Any, **more: Any) -> None:
        super().__init__(*how, **more)  # model, descent, device, dtype
        if self.model.layers or not self.descent.plain:
            wanted = "models without layers, --optimizer sgd and neither --l2 nor --clip"
            raise UsageError("BAD_BACKEND", f"blas knows {wanted}; give another --backend")
        self._gemv = get_blas_funcs("gemv", dtype=np.dtype(self.dtype))

    def _place(self, array: Floats) -> Any:
        return array.astype(self.dtype)

    def _fetch(self, tensor: Any) -> Any:
        return tensor

    def predict(self, state: State, X: Floats) -> Floats:
        answer: Floats = (X.astype(self.dtype) @ state["w"]).astype(np.float64)
        return expit(answer) if self.model.classifies else answer

    @np.errstate(over="ignore", invalid="ignore")  # the caller looks for what is not finite
    def _descend(
        self, state: State, X: Floats, y: Floats, weights: Any, passes: int, batch_size: int
    ) -> Steps:
        w, logistic = state["w"].copy(), self.model.classifies  # what was handed in stays
        X, y = X.astype(self.dtype, copy=False), y.astype(self.dtype, copy=False)
        batches, size, _ = X.shape
        losses = np.empty(passes * batches)
        scores = np.empty(y.shape) if logistic else None
        for step, rate in enumerate(self._table(state, len(losses))[:, 0]):
            i = step % batches
            a = self._gemv(1.0, X[i].T, w, trans=1)
            r = (expit(a) if logistic else a) - y[i]
            each = np.logaddexp(0, a) - a * y[i] if logistic else r * r
            if scores is not None and step < batches:
                scores[i] = r + y[i]
            if weights is not None:
                each, r = each * weights[i], r * weights[i]
            losses[step] = each.mean()
            scale = -rate * (1 if logistic else 2) / size
            w = self._gemv(scale, X[i].T, r, beta=1.0, y=w, overwrite_y=1)
        return Steps({"w": w, "step": state["step"] + len(losses)}, losses, scores)
