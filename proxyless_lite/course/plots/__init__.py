"""Figures from data frames and tensors; every function returns a figure."""

from .animation import animate
from .blocks import building_blocks
from .choice import chosen
from .costs import candidate_costs, cost_distribution, cross_latency, relative_prices
from .gates import memory_by_candidates, path_probabilities, path_strip, slope_and_chord
from .latency import drift, learning_curve, predicted_against_measured, sum_of_blocks
from .networks import network, networks, operation_counts, tree_network
from .paper import accuracy_against_latency, platforms, save, search_cost
from .runs import (accuracy_against_cost, against_random, best_within, cost_history, found_and_random, front, images, latency_against_weight,
                   loss_forms, pareto, preferred, probabilities, search_history, training_history)
from .schematics import binary_gates, latency_loss
from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, STYLE, Figure, headline, new_figure
from .truth import bias_and_variance, landscape, regret_by_method, regret_over_cost, shared_against_true, trajectory
