"""Stocktake keeps an S3-compatible bucket and the ledger that describes it telling the same story."""

__version__ = "0.1.0"
