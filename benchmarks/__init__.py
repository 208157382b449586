"""Figures, measured side by side in one run: never a verdict by the clock."""
