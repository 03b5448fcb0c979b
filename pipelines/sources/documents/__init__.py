"""PDF documents as sources: each page is a record, and each figure with a caption."""
