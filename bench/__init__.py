"""What the panel costs, as ratios to the raw loop without our code, measured side by side."""
