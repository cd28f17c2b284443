"""What a machine's parameters are, from a recording of its step tests: pure functions of arrays."""
