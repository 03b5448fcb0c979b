"""The tables `gallery__{space}__{modality}`: what search reads."""
