"""What keeps tests off real databases, and what makes tests of agents short."""
