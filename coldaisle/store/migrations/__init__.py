"""The history of the incident store's schema, applied when a store opens."""
