"""Dead letters with a way back: ``gradstream dlq list | show | replay``."""
