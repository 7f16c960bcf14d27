"""AnimateDiff for Stable Diffusion: motion modules, their injection into any UNet, and the hosts that use them.

Importing this package, or any of its modules, has no effect on the program around it.
"""

__version__ = "0.1.0"
