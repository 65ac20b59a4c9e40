"""A query that dies after each record and comes back with no more than what its changelog has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gradstream.engine.language.functions import aggregates
from gradstream.engine.rows.changelog import Changelog
from gradstream.engine.rows.merging import taken
from gradstream.engine.rows.pipeline import Output, Pipeline
from gradstream.wire.records import Records


class Restarted(Pipeline):
    """As a Pipeline; of each key of its changelog only the last value is left, as after a compaction."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.changelog = Changelog("q", self.inputs.keepers)
        self.topics: dict[str, dict[bytes, bytes]] = {of: {} for of in self.changelog.topics}

    def run(self, records: Records) -> Output:
        outputs = []
        for row in range(len(records)):
            made = super().run(taken(records, np.array([row])))
            outputs.append((made, np.full(len(made.rows), row)))
            self.die()
        log = [entry for made, _ in outputs for entry in made.log]
        if not outputs:
            return super().run(records)
        return Output(
            pa.concat_arrays([made.keys for made, _ in outputs]),
            pa.concat_arrays([made.values for made, _ in outputs]),
            np.concatenate([made.timestamps for made, _ in outputs]),
            np.concatenate([rows for _, rows in outputs]),
            log,
        )

    def die(self) -> None:
        for change in self.changelog.take_changes():
            topic = self.topics[change.topic]
            for key, value in zip(change.keys.to_pylist(), change.values.to_pylist(), strict=True):
                topic.pop(key, None)
                if value is not None:
                    topic[key] = value
        self.inputs.start()
        aggregates._numbers = aggregates._Numbers()  # as in a new process
        self.changelog = Changelog("q", self.inputs.keepers)
        for topic in self.topics.values():
            self.changelog.put_back(topic.keys(), topic.values())
        self.changelog.finish()
