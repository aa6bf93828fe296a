"""The networks of the methods."""
