"""A simulated AI hall: physics, jobs and faults with their truth."""
