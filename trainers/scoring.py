"""What published weights say of new rows.

record = newest(services, registry, "gradstream_weights", "clicks-logistic")
Scorer(record).scores(features)
"""

from __future__ import annotations

import json

import numpy as np

from trainers import models
from trainers.backends.on_numpy import NumpyBackend
from trainers.chain import WeightsRecord
from trainers.descent import Descent
from trainers.models import Floats
from trainers.scaler import Scaler


class Scorer:
    """A model with the weights of one record, whatever backend trained it."""

    def __init__(self, record: WeightsRecord) -> None:
        settings = json.loads(record.configuration or "{}")
        self.features = record.features
        layers = tuple(settings.get("layers", ()))
        self.model = models.get(record.model, len(self.features), record.bias, layers)
        self._scaler: Scaler | None = None
        if settings.get("standardise"):
            self._scaler = Scaler.of(self.model.inputs, self.model.bias, record.tensors)
        self._backend = NumpyBackend(self.model, Descent())
        self._state = self._backend.load(record.tensors)

    def scores(self, features: Floats) -> Floats:
        """For rows of the record's features, in their order and units, shape (n, features): the predicted number, the
        probability of class 1, or the error of the reconstruction; shape (n,).
        """
        X = self.model.design(np.asarray(features, np.float64))
        if self._scaler is not None:
            X = self._scaler.frozen(X)
        return self._backend.predict(self._state, X)
