"""Rules that every stack keeps, as plain functions over its resources."""
