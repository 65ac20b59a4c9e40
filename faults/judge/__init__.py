"""A judge of what gradstream has left in the topics: a program of its own that imports nothing of what it judges.

    python -m faults.judge --bootstrap-servers A --registry URL --run RUN
    verdict("127.0.0.1:9092", "http://127.0.0.1:8081", "my-run").faults

It follows the run's chain, accounts for every visible position of its input as trained once or dead-lettered once,
compares the group's offsets, and learns the weights once more by a plain loop. Its words: LOST, REPEATED, TORN,
BROKEN_CHAIN, CHANGED, WRONG_WEIGHTS, WRONG_BATCHES, MISCOUNTED, WRONG_LETTER, RECREATED, NO_RECORDS, HIDDEN; between a
statement's source and the training topic INVENTED and UNMASKED as well.
"""

from faults.judge.judgement import Verdict, verdict
from faults.judge.path import Sql

__all__ = ["Sql", "Verdict", "verdict"]
