"""Images in, pixels out, and back to files: decode, sources, color profiles, encode."""
