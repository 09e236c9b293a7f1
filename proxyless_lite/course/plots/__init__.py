"""Figures from data frames and tensors; every function returns a figure."""

from .animation import animate
from .choice import chosen
from .costs import block_costs_on_two, candidate_costs, cost_distribution, cross_latency, relative_prices
from .gates import estimators, memory_by_candidates, path_probabilities
from .latency import drift, learning_curve, predicted_against_measured
from .networks import network, networks, tree_network
from .paper import accuracy_against_latency, platforms, save, search_cost
from .runs import (accuracy_against_cost, against_random, best_within, cost_history, front, images, latency_against_weight, loss_forms,
                   pareto, preferred, probabilities, search_history, training_history)
from .schematics import binary_gates, latency_loss
from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, Figure, new_figure
from .truth import bias_and_variance, landscape, regret_against_cost, regret_over_cost, trajectory
