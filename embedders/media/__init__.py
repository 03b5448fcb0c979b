"""Decode images, audio and text: check parts as delivered, and make inputs for encoders.

`read_image`, `read_audio`, `read_text` and `read_meta` check a part: they take undecoded bytes and
`Limits`, check sizes before they decode, and decode everything, so that truncation is noticed.
`load_rgb`, `load_mono` and `load_text` make the input of an encoder. All raise RecordError for
whatever is wrong with a part.
"""
