"""Jobs and the loop."""
