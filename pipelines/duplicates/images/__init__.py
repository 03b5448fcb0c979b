"""Near-duplicate images: hashes within a distance, verified on thumbnails."""
