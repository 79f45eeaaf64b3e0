"""The page of `foreground serve`: images in, cut-outs out, in a browser or from a program, on this machine alone."""
