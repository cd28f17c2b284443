"""The folder tool: check, predict and price every program below a folder, in parallel, resumable."""
