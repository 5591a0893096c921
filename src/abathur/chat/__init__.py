"""Statistics, outbound messages and the commands of agents that are driven by a chat."""
