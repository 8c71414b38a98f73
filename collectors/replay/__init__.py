"""A recording, played again as if it were live."""
