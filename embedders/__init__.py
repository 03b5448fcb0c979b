"""Layer 2: media decoding, encoders, spaces, the Ray actor pool, and alignment."""
