"""The explorer page: every stored run, for a reader to choose among, in one piece of HTML that needs nothing else."""

from fewft.explore.data import gather
from fewft.explore.page import Explorer, explorer

__all__ = ["Explorer", "explorer", "gather"]
