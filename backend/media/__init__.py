"""The media pass: decodes once, finds faces once, writes the face pack; and draws the result video.

Runs in its own worker, the only place where submitted bytes are opened. The dispatcher never imports anything from it.
"""
