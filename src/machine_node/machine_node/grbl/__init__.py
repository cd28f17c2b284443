"""GRBL 1.1 controllers: bytes (protocol), device verbs (driver), words (dialect), stops, and where a program begins."""
