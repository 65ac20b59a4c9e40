"""What a Kafka client tells about itself now and then: how far it is behind, what waits in it, how the brokers answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from gradstream.wire.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a reader, as of the moment at which its client made them.

    Attributes:
        received, received_bytes: records so far, with those that wait, and their bytes.
        waiting: records that have come and that fetch() has not given yet.
        lag: by partition, how many offsets lie between what fetch() has taken and the end that read_committed sees;
            markers of transactions are offsets, too, so it may stay at one. Partitions of which it is not known are
            missing.
        round_trip: seconds that the slowest broker took to answer, on average; a fetch that waits for records counts
            with its waiting.
    """

    received: int
    received_bytes: int
    waiting: int
    lag: dict[TopicPartition, int]
    round_trip: float

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From the document that librdkafka makes (its STATISTICS.md tells the names)."""
        told = json.loads(text)
        partitions = {
            (topic, int(number)): partition
            for topic, of_topic in told["topics"].items()
            for number, partition in of_topic["partitions"].items()
            if int(number) >= 0
        }
        brokers: list[dict[str, Any]] = list(told["brokers"].values())
        return cls(
            received=told["rxmsgs"],
            received_bytes=told["rxmsg_bytes"],
            waiting=told["replyq"],
            # librdkafka's own lag counts from the offsets that it commits, and it commits none for us.
            lag={
                at: max(0, p["ls_offset"] - p["app_offset"])
                for at, p in partitions.items()
                if min(p["ls_offset"], p["app_offset"]) >= 0
            },
            round_trip=max((b["rtt"]["avg"] for b in brokers if "rtt" in b), default=0) / 1e6,
        )
