"""Where models come from: the model store, downloads, what is unpacked of them."""
