"""Model files: where they come from, and what is known of them."""
