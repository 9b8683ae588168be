"""Tables and sentences of the book: tidy frames in, text out; what was not run is said, never filled in."""

from fewft.stats import ALPHA, TEST_RUNS
from fewft.tables.arms import arm_table, arm_words, final_losses, loss_table, loss_words, mean_loss
from fewft.tables.beside import data_words, slip_table
from fewft.tables.compare import best_of_group, better_than_standard, comparison, printed
from fewft.tables.data import example_table, length_table, length_words, size_words
from fewft.tables.methods import (
    large_table,
    large_words,
    method_table,
    method_words,
    precision_frame,
    precision_table,
    precision_words,
)
from fewft.tables.models import model_table
from fewft.tables.own_rates import own_rate_table, own_rate_words
from fewft.tables.randomness import randomness_table, randomness_words
from fewft.tables.remedies import TABLE_1, UNDECIDED, distance_table, layer_table, step_table, table_1, table_7
from fewft.tables.remedy_words import (
    box_words,
    count_words,
    distance_words,
    fall_words,
    gap_words,
    layers_words,
    missing_words,
    recipe_words,
    step_words,
)
from fewft.tables.search import choice_table, grid_table, search_table, search_words
from fewft.tables.setup import baseline_agreement, best_rate, data_table, rate_table, settings_table
from fewft.tables.speed import KINDS, rate_frame, span, step_frame
from fewft.tables.words import NOT_MEASURED, NOT_RUN, where_words

__all__ = [
    "ALPHA", "KINDS", "NOT_MEASURED", "NOT_RUN", "TABLE_1", "TEST_RUNS", "UNDECIDED", "arm_table", "arm_words",
    "baseline_agreement", "best_of_group", "best_rate", "better_than_standard", "box_words", "choice_table",
    "comparison", "count_words", "data_table", "data_words", "distance_table", "distance_words", "example_table",
    "fall_words", "final_losses", "gap_words", "grid_table", "large_table", "large_words", "layer_table",
    "layers_words", "length_table", "length_words", "loss_table", "loss_words", "mean_loss", "method_table",
    "method_words", "missing_words", "model_table", "own_rate_table", "own_rate_words", "precision_frame",
    "precision_table", "precision_words", "printed", "randomness_table", "randomness_words", "rate_frame",
    "rate_table", "recipe_words", "search_table", "search_words", "settings_table", "size_words", "slip_table",
    "span", "step_frame", "step_table", "step_words", "table_1", "table_7", "where_words",
]  # fmt: skip
