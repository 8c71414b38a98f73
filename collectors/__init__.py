"""Room 1: read the world, yield samples and events."""
