"""The demonstration: a bucket that lives, what goes wrong in it, and what Stocktake says and does about it."""
