"""Data sets of images and texts. Each module holds one factory and is loaded when it is named."""
