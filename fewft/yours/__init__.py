"""The paper's recipes on data of one's own: which one to use, and the model to keep.

`read` the files, `make_study` of them, `load` its runs, `recommend` a recipe, `save` its best model.
"""

from fewft.yours.advice import Advice, best_settings, recommend, summary, words
from fewft.yours.files import OwnData, notes, read
from fewft.yours.keep import save
from fewft.yours.runs import Comparison, load, make_study, whole_numbers

__all__ = [
    "Advice", "Comparison", "OwnData", "best_settings", "load", "make_study", "notes", "read", "recommend", "save",
    "summary", "whole_numbers", "words",
]  # fmt: skip
