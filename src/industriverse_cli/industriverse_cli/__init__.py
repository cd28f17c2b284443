"""The industriverse command line."""
