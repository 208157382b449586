"""`stocktake`, the operators' command line: a deployed stack by its API, and the bucket and tables themselves where the API cannot."""
