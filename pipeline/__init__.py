"""Room 2: frames become scores, anomalies, alerts, incidents and notifications."""
