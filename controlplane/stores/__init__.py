"""Stores that people add: who may use them, whether they work, and what is taken in from them."""
