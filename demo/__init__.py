"""``gradstream demo``: the whole pipeline on real parts, watched by a person."""
