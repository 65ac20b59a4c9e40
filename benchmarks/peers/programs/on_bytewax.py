"""Bytewax: batches as its Kafka source takes them, weights as keyed state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.peers.programs.by_hand import Model
from benchmarks.peers.programs.reading import TUNED, decoder, matrix
from benchmarks.peers.programs.task import BATCH, Clock, Task


def flow(task: Task, clock: Clock) -> None:
    """The source's batches are kept together from end to end, which is what makes Bytewax fastest."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    decode = decoder(task)

    def decoded(messages: list[Any]) -> Iterable[Any]:
        if messages:
            yield "all", matrix(task, decode([message.value for message in messages]))

    def learn(model: Model | None, batch: Any) -> tuple[Model, None]:
        model = model or Model()
        model.learn(*batch)
        if clock.tick(len(batch[1])):
            clock.weights = model.w
            clock.leave()
        return model, None

    made = Dataflow("peer")
    kafka = KafkaSource(
        [task.bootstrap], [task.topic], tail=False, add_config=dict(TUNED), batch_size=BATCH
    )
    batches = op.flat_map_batch("decode", op.input("read", made, kafka), decoded)
    op.output("end", op.stateful_map("train", batches, learn), nowhere())
    run_main(made)


def nowhere() -> Any:
    """A sink, since a flow must end in one."""
    from bytewax.outputs import DynamicSink, StatelessSinkPartition

    class Nowhere(DynamicSink, StatelessSinkPartition):  # type: ignore[misc]
        def build(self, *_: object) -> Nowhere:
            return self

        def write_batch(self, items: list[Any]) -> None:
            pass

    return Nowhere()
