"""What is noteworthy about an SQLite database besides its rows. Nothing here changes anything."""
