"""Answers to the exercises: each check prints what is right, or a hint at the likely mistake, and never raises."""

from .answers import report
from .method import (entropy, updates, paper_hours, larger_space, tree_halves, depth_deviations, zero_gradient, active_share,
                     top_two, path_share, rescale, standard_error)
from .hardware import (model_error, reference_correction, kernel_price, cost_gradient, price_on_the_front, released_price,
                       search_hours, rank_factor, zero_wins, smoothed_target, width_macs, difference_error, away_from_home,
                       opposite_pairs, least_time)
from .results import four_networks, controller_cost, darts_over_ours, same_networks, how_lucky, draws_for_the_top, choice_price, best_of_four
