"""A dance school: the shape of a real application, whose tests once emptied its development database."""
