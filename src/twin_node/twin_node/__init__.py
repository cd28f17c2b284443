"""Oracle, price and shadow twin."""
