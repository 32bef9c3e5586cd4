"""What touches the world: one room for each thing it touches."""
