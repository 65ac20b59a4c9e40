"""Takes batches from a topic, learns, and publishes weights and offsets together."""
