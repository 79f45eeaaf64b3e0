"""Columns of images: datasets, Arrow, Ray and Spark."""
