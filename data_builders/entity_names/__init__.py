"""Short texts made up around the names of an entity catalogue: mentions of every entity, before any labelled text."""
