"""Tables and sentences of the book: tidy frames in, text out; what was not run is said, never filled in."""

from fewft.tables.arms import arm_table, arm_words, final_losses, loss_table, loss_words, mean_loss
from fewft.tables.compare import best_of_group, better_than_standard, comparison, printed
from fewft.tables.setup import baseline_agreement, best_rate, data_table, rate_table, settings_table
from fewft.tables.speed import KINDS, rate_frame, span, step_frame
from fewft.tables.words import ALPHA, NOT_MEASURED, NOT_RUN, TEST_RUNS, where_words

__all__ = [
    "ALPHA", "KINDS", "NOT_MEASURED", "NOT_RUN", "TEST_RUNS", "arm_table", "arm_words", "baseline_agreement", "best_of_group", "best_rate", "better_than_standard", "comparison",
    "data_table", "final_losses", "loss_table", "loss_words", "mean_loss", "printed", "rate_frame", "rate_table",
    "settings_table", "span", "step_frame", "where_words",
]  # fmt: skip
