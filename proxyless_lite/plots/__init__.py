"""Figures from data frames and tensors; every function returns a figure."""

from .animation import animate
from .gates import estimators, memory_by_candidates, path_probabilities
from .latency import drift, learning_curve, predicted_against_measured
from .networks import block_costs_on_two, candidate_costs, cost_distribution, cross_latency, network, networks, relative_prices
from .runs import (accuracy_against_cost, against_random, best_within, cost_history, front, images, latency_against_weight, loss_forms,
                   pareto, preferred, probabilities, search_history, training_history)
from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, Figure, new_figure
