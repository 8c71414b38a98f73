"""The roof: wires everything."""
