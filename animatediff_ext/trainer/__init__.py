"""Training of motion modules, domain adapters and motion LoRAs: ``python -m animatediff_ext train``."""
