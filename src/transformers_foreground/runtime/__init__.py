"""What runs a graph: sessions, devices, pixels in and planes out."""
