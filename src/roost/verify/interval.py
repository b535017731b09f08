"""How far a share of few cases can be trusted."""

from __future__ import annotations

import math

#: 95 %.
_Z = 1.959964


def wilson(passed: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, from 0 to 1: E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", Journal of the American Statistical Association 22 (1927). Of nothing: from 0 to 1."""
    if count == 0:
        return 0.0, 1.0
    share, spread = passed / count, _Z * _Z / count
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
