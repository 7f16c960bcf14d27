from animatediff_ext.webui.script import AnimateDiffScript, register  # noqa: F401

register()
