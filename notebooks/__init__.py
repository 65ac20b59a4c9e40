"""Notebooks, each of which opens with the question that it answers, and what keeps them tidy."""
