"""The tests of the dance school. Each reaches the production session in another way, and empties a table."""
