"""The page of `foreground serve`: pictures in, cut-outs out, in a browser or from a program, on this machine alone."""
