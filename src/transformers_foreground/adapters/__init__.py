"""transformers and Optimum: the only room that imports them, or torch."""
