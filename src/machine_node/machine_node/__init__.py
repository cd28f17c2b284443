"""Machine drivers, virtual machines and telemetry."""
