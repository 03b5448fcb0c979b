"""Videos as sources: sampled frames are records, with the sound and the captions of their time."""
