"""Words and files to checked-in programs."""
