"""The accidents, one kind per file: QUESTION, SAMPLE and FULL (attempts), NEEDS_STACK, and ``attempts(lab, plan)``."""
