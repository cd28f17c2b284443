"""The report: one program, its verdict, prediction and price as one self-contained page."""
