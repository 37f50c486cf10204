"""Which position, how many, what value, under which guidance: the loop that writes a text, and its trace."""

from unmask.decoding.guidance import Guidance
from unmask.decoding.order import Order, orders
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.quota import Quota, quotas
from unmask.decoding.remask import Remasker, remaskers
from unmask.decoding.rule import Sampler, samplers
from unmask.decoding.sampler import Generation, Progress, generate
from unmask.decoding.trace import Trace

__all__ = [
    "DecodingPlan",
    "Generation",
    "Guidance",
    "Order",
    "Progress",
    "Quota",
    "Remasker",
    "Sampler",
    "Trace",
    "generate",
    "orders",
    "quotas",
    "remaskers",
    "samplers",
]
