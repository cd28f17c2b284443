"""Cell descriptions, launch files and the supervisor that starts a cell."""
