"""Numbers as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Three digits at least.

    >>> duration(12.34), duration(0.01234), duration(0.00123)
    ('12.3 s', '12.3 ms', '1.23 ms')
    """
    if seconds >= 999.5:
        return f"{seconds:,.0f} s"
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{seconds * 1e3:.3g} ms"


def times(ratio: float) -> str:
    """A ratio in two or three digits.

    >>> times(168.2), times(12.34), times(1), times(0.01234)
    ('168×', '12.3×', '1.00×', '0.012×')
    """
    if ratio < 0.1:
        return f"{ratio:.2g}×"
    return f"{ratio:.{0 if ratio >= 100 else 1 if ratio >= 10 else 2}f}×"
