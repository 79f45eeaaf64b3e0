"""What is made of an image and its mask: cut-outs, backgrounds, contact sheets."""
