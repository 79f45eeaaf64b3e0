"""The server of `foreground serve`: a page in the browser, and an API for programs."""
