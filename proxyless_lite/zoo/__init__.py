"""The networks of the paper with their released weights, and those they are compared with."""

from .networks import BASELINES, RELEASED, baseline, proxyless_cifar, proxyless_cpu, proxyless_gpu, proxyless_mobile, proxyless_mobile_14
from .weights import load_released_weights
