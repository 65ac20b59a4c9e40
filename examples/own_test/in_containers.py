"""The same in Docker, by testcontainers: ``python in_containers.py``."""

from __future__ import annotations

from gradstream.testing import Pipeline
from gradstream.testing.containers import ContainerStack

with ContainerStack() as stack, Pipeline(stack.services) as pipeline:
    pipeline.sql("payments.sql")
    pipeline.produce("payments", ["1,Hans,2.5,0", "2,Anna,2.5,"])
    assert len(pipeline.rows("payments_training")) == 1
