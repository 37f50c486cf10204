"""Which position, how many, what value, under which guidance: the loop that writes a text, and its trace.

The registries live beside their bases (``unmask.decoding.order.orders``): here their names are folders of leaves.
"""

from unmask.decoding.guidance import Guidance
from unmask.decoding.order import Order
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.quota import Quota
from unmask.decoding.remask import Remasker
from unmask.decoding.rule import Sampler
from unmask.decoding.sampler import Progress, SamplerOutput, generate
from unmask.decoding.trace import Trace

__all__ = [
    "DecodingPlan",
    "SamplerOutput",
    "Guidance",
    "Order",
    "Progress",
    "Quota",
    "Remasker",
    "Sampler",
    "Trace",
    "generate",
]
