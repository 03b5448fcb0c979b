"""Floor 2: encoders, the spaces that they span, and the Ray actor pool that runs them."""
