"""What a captioner is: image in, captions and classes out; knows no HTTP and no data set.

Dimension letters used in every docstring and shape comment of the project:
B batch, T time (words), V vocabulary, D feature, E embedding, U units, L layers, K beam, N hypotheses
(images times beam), H height, W width, C channels or classes.
"""
