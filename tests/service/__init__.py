"""The database service over real NATS servers."""
