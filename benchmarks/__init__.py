"""One question per file; each answers with ratios measured in one run, since machines differ and are noisy.

A benchmark is a module with ``QUESTION`` and ``measure(services) -> list[Figure]``. ``make bench`` runs them all;
``python -m benchmarks produce train`` runs some.
"""
