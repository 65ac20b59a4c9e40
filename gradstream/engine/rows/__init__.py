"""What happens to records between a source and a sink: bytes to columns, through a plan, to bytes. No Kafka client."""
