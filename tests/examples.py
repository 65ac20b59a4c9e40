"""How many examples Hypothesis draws: the same hundred or so in each run of the suite, or many new ones.

``pytest --hypothesis-profile thorough`` and ``HYPOTHESIS_PROFILE=thorough`` ask for the latter.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile(
    "suite", max_examples=120, deadline=None, derandomize=True, suppress_health_check=SLOW
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=SLOW, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
