"""``gradstream bench backends``: the same jobs on every backend, in turns, against NumPy and published figures."""
