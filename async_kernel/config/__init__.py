"""From YAML text to a `Profile`: positions, one schema, layers, the origin of every value."""
