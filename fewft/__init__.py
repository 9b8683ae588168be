"""fewft: "Revisiting Few-sample BERT Fine-tuning" (ICLR 2021) as a living paper."""

__version__ = "0.1.0"
