"""Drawing by rules: glyphs and pen strokes, what a text says of a picture (:mod:`.facts`), and pictures of it.

What the embedded CLIP was trained on was drawn with these glyphs and strokes, and so are the data sets ``rendered`` and
``glossary`` and the pictures of the target ``painter``.
"""
