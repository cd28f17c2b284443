"""Detectors: from streams of numbers to how unusual the newest sample is. Causal, pure, time is the sample's index."""
