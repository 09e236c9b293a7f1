"""Figures from data frames and tensors; every function returns a figure."""

from .animation import animate
from .gates import estimators, memory_by_candidates
from .latency import drift, learning_curve, predicted_against_measured
from .networks import network
from .runs import (accuracy_against_cost, against_random, cost_history, images, latency_against_weight, loss_forms, probabilities,
                   search_history, training_history)
from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, Figure, new_figure
