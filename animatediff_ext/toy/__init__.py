"""A toy world: drawn shapes that look where they go, models that learnt them, and measures of what they do.

It stands in for real weights, end to end: the demo's models, the fixture of end-to-end tests, and the proof that one
motion module, trained once, animates image models that it has never seen (Guo et al., arXiv 2307.04725).
"""
