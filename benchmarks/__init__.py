"""Benchmarks: `./cell bench [NAME ...]` prints one JSON line a result. Never part of a test."""
