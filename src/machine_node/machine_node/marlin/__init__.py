"""Marlin controllers: bytes (protocol), device verbs (driver), and which move may be sent now (streamer)."""
