"""The peers, each at its best settings, and what of gradstream stands beside them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Literal

from benchmarks.peers.feeds import ARRAY, ARRAY_JSON, FLAT, FLAT_JSON, FRAUD

OWN = "own"  # the environment that gradstream runs in
CLIENT = ("confluent-kafka",)
AVRO, JSON = (*CLIENT, "fastavro", "numpy"), (*CLIENT, "orjson", "numpy")

# Of offsets and weights.
NOT_TIED = "each 5 s, trained or not"
NONE = "–"
TOGETHER = "one transaction"
EVERY = 0.1  # seconds between them


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the comparison.

    Attributes:
        kind: ``limit`` only reads; ``ours`` is gradstream as it is used; ``variant`` has a part of gradstream exchanged.
        layout: of the records that it reads.
        environment: OWN, or a set of ``requirements``.
        program: ``module.function`` of ``programs``.
        offsets, weights: what is committed, and when.
        libraries: whose versions count.
        why: why it cannot take part here; empty where it can.
    """

    name: str
    kind: Literal["limit", "ours", "variant", "peer"]
    layout: str
    environment: str
    program: str
    offsets: str
    weights: str
    libraries: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def tied(self) -> bool:
        """Whether weights and offsets are committed together, so that each record is learned from once."""
        return "with the offsets" in self.weights

    @property
    def why(self) -> str:
        if self.program == "limits.kcat" and shutil.which("kcat") is None:
            return "kcat is not installed"
        if self.environment == OWN:
            missing = [name for name in self.libraries if find_spec(_module(name)) is None]
            return f"{missing[0]} is not installed" if missing else ""
        return ""


def _module(library: str) -> str:
    return {"confluent-kafka": "confluent_kafka"}.get(library, library)


def _ours(name: str, layout: str = FLAT, client: str = "", **job: object) -> Peer:
    options = {"job": job, "every": EVERY, **({"client": client} if client else {})}
    return Peer(
        name,
        "variant" if client else "ours",
        layout,
        OWN,
        "ours.train",
        TOGETHER,
        "each 100 ms, with the offsets",
        ("gradstream", *CLIENT, "numpy", str(job["backend"])),
        options,
    )


def _peer(name: str, layout: str, environment: str, program: str, *libraries: str) -> Peer:
    """One that has nothing to offer about offsets or weights."""
    read = AVRO if layout in (FLAT, ARRAY, FRAUD) else JSON
    every = tuple(dict.fromkeys((*libraries, *read)))
    return Peer(name, "peer", layout, environment, program, NOT_TIED, NONE, every)


def _quix(name: str, program: str, weights: str, **options: object) -> Peer:
    transactions = options["guarantee"] == "exactly-once"
    offsets = "a transaction each second" if transactions else "each second"
    libraries = ("quixstreams", *CLIENT, "numpy", "orjson")
    return Peer(
        name, "peer", ARRAY_JSON, "quix", program, offsets, weights, libraries, dict(options)
    )


def _bytewax(name: str, layout: str) -> Peer:
    """It commits no offsets, and its recovery is off: a snapshot each 10 s would not fall into a run."""
    made = _peer(name, layout, "bytewax", "on_bytewax.flow", "bytewax")
    return replace(made, offsets=NONE)


def _pathway(name: str, program: str) -> Peer:
    """Its own persistence is off: it would only cost."""
    return Peer(name, "peer", ARRAY_JSON, "pathway", program, NONE, NONE, ("pathway", "numpy"))


NUMBA, NUMPY = "gradstream, Numba", "gradstream, NumPy"
ON_CONFLUENT = "gradstream, GRADSTREAM_CLIENT=confluent"
OWN_LOOP = "consume() and gradstream's decoder"
NUMPY_FASTAVRO = "NumPy + fastavro"
QUIX_EXACTLY_ONCE = "Quix Streams, exactly-once"
FRAUD_OURS, FRAUD_NUMPY = "gradstream, Numba, fraud", "NumPy + fastavro, fraud"
KCAT = "kcat"
TOPIC = "to a topic, each batch"

PEERS = (
    Peer(KCAT, "limit", FLAT, OWN, "limits.kcat", NONE, NONE, ()),
    Peer("consume(256)", "limit", FLAT, OWN, "limits.consume", NOT_TIED, NONE, CLIENT),
    _ours(NUMBA, backend="numba"),
    _ours(NUMPY, backend="numpy"),
    _ours(ON_CONFLUENT, client="confluent", backend="numba"),
    Peer(
        OWN_LOOP,
        "variant",
        FLAT,
        OWN,
        "ours.decoded_by_hand",
        TOGETHER,
        "each 100 ms, with the offsets",
        ("gradstream", *CLIENT, "numpy"),
        {"chunk": 256, "every": EVERY},
    ),
    _peer(NUMPY_FASTAVRO, FLAT, OWN, "by_hand.descend"),
    _peer("NumPy + fastavro, array", ARRAY, OWN, "by_hand.descend"),
    _peer("NumPy + orjson", ARRAY_JSON, OWN, "by_hand.descend"),
    Peer(
        "NumPy + fastavro, exactly once by hand",
        "peer",
        FLAT,
        OWN,
        "by_hand.exactly_once",
        TOGETHER,
        "each second, with the offsets",
        AVRO,
        {"every": 1.0},
    ),
    _peer("scikit-learn + fastavro", ARRAY, "learners", "on_sklearn.partial_fit", "scikit-learn"),
    _peer(
        "scikit-learn + orjson", ARRAY_JSON, "learners", "on_sklearn.partial_fit", "scikit-learn"
    ),
    _peer("River, learn_one, Avro", FLAT, "learners", "on_river.learn_one", "river"),
    _peer("River, learn_one, JSON", FLAT_JSON, "learners", "on_river.learn_one", "river"),
    _peer("River, learn_many, JSON", ARRAY_JSON, "learners", "on_river.learn_many", "river"),
    _quix("Quix Streams, at-least-once", "on_quix.batched", TOPIC, guarantee="at-least-once"),
    _quix(QUIX_EXACTLY_ONCE, "on_quix.batched", TOPIC, guarantee="exactly-once"),
    _quix(
        "Quix Streams, exactly-once, weights in its state",
        "on_quix.in_state",
        "each record, with the offsets",
        guarantee="exactly-once",
    ),
    _bytewax("Bytewax, JSON", ARRAY_JSON),
    _bytewax("Bytewax, Avro", ARRAY),
    _pathway("Pathway, rows to Python", "on_pathway.subscribed"),
    _pathway("Pathway, a reducer in Python", "on_pathway.reduced"),
    _peer("PyTorch + fastavro", ARRAY, OWN, "on_torch.sgd", "torch"),
    _peer("Keras + fastavro", ARRAY, OWN, "on_keras.train_on_batch", "keras", "tensorflow"),
    _ours(FRAUD_OURS, FRAUD, backend="numba", model="logistic", learning_rate=1e-10),
    _peer(FRAUD_NUMPY, FRAUD, OWN, "by_hand.logistic"),
)
