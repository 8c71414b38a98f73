"""NVIDIA Xid knowledge as a table: meaning, action, who causes whom."""
