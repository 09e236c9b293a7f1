"""Answers to the exercises: each check prints what is right, or a hint at the likely mistake, and never raises."""

from .answers import report
from .method import (entropy, updates, paper_hours, larger_space, tree_halves, depth_deviations, top_two, standard_error)
from .gates import (sample_gate, mixed_output, gate_gradient, alpha_gradient, two_path_gradient, rescale, trained_weights, alpha_entropy,
                    derived, learning_rate, most_probable)
from .latency import (network_latency, reference_correction, relative_rmse, kendall_tau, expected_latency, latency_gradient,
                      penalised_loss, pair_expectation, reinforce, within_limit)
from .hardware import (model_error, price_on_the_front, search_hours, rank_factor, zero_wins, smoothed_target, width_macs, difference_error,
                       away_from_home, opposite_pairs, least_time)
from .results import (four_networks, controller_cost, darts_over_ours, same_networks, draws_for_the_top, choice_price, best_of_four,
                      extrapolated, how_lucky)
