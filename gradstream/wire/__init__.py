"""How records travel: Kafka clients, the schema registry and codecs between bytes and columns."""
