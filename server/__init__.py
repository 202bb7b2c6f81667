"""The captioner over HTTP; the only package that imports flask, and one that never imports tensorflow."""
