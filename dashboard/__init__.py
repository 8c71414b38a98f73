"""Room 4: look and act."""
