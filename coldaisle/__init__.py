"""The ground floor: the words, the ports, and the adapters behind the ports."""
