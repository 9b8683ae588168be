"""Tables and sentences of the book: tidy frames in, text out; what was not run is said, never filled in."""

from fewft.tables.arms import arm_table, arm_words, final_losses, loss_table, loss_words, mean_loss
from fewft.tables.compare import best_of_group, better_than_standard, comparison, printed
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
    search_words,
)
from fewft.tables.setup import baseline_agreement, best_rate, data_table, rate_table, settings_table
from fewft.tables.speed import KINDS, rate_frame, span, step_frame
from fewft.tables.words import ALPHA, NOT_MEASURED, NOT_RUN, TEST_RUNS, where_words

__all__ = [
    "ALPHA", "KINDS", "NOT_MEASURED", "NOT_RUN", "TABLE_1", "TEST_RUNS", "UNDECIDED", "arm_table", "arm_words",
    "baseline_agreement", "best_of_group", "best_rate", "better_than_standard", "box_words", "comparison",
    "count_words", "data_table", "distance_table", "distance_words", "fall_words", "final_losses", "gap_words",
    "layer_table", "layers_words", "loss_table", "loss_words", "mean_loss", "missing_words", "printed", "rate_frame",
    "rate_table", "recipe_words", "search_words", "settings_table", "span", "step_frame", "step_table", "table_1",
    "table_7", "where_words",
]  # fmt: skip
