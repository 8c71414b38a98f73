"""What turns findings into alerts, incidents and notifications."""
