"""Which images run: those of docker-compose.yml, and the same variables name others."""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["KAFKA", "REGISTRY", "KSQLDB"]

IMAGES: dict[Role, str] = {
    "KAFKA": "apache/kafka:4.3.1",
    "REGISTRY": "confluentinc/cp-schema-registry:7.5.0",
    "KSQLDB": "confluentinc/ksqldb-server:0.29.0",
}


def variable(role: Role) -> str:
    """The variable of the environment that names another image."""
    return f"GRADSTREAM_{role}_IMAGE"


def image(role: Role) -> str:
    """The image of a role."""
    return os.environ.get(variable(role)) or IMAGES[role]
