"""The database service over NATS."""
