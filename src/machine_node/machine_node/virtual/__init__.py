"""Virtual machines: processes of their own that speak the real protocol on a pseudo-terminal."""
