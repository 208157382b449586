"""Stocktake keeps an S3-compatible bucket and the ledger that describes it telling the same story."""
