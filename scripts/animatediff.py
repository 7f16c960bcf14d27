from animatediff_ext.webui.door import AnimateDiffScript, register  # noqa: F401

register()
