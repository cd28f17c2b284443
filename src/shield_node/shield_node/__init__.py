"""Gates, permits and stops."""
