"""Wilson's interval of a share."""

from __future__ import annotations

import math

from unmask.core.errors import UsageError
from unmask.metrics.bootstrap import Interval

#: z of a two-sided 95 % interval
_Z = 1.959964


def wilson(hits: int, n: int) -> Interval:
    """A share with Wilson's 95 % interval (doi:10.1080/01621459.1927.10502953), honest next to 0 and 1 too.

    Raises:
        UsageError: no trial.
    """
    if n < 1:
        raise UsageError("a share of nothing is nothing: measure at least one")
    p, z2 = hits / n, _Z**2 / n
    middle = (p + z2 / 2) / (1 + z2)
    reach = math.sqrt(p * (1 - p) * z2 + z2**2 / 4) / (1 + z2)
    return Interval(p, max(0.0, middle - reach), min(1.0, middle + reach), 0.95, n)
