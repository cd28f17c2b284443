"""Telemetry hub: records what the machines of a cell report. See README.md of the package."""
