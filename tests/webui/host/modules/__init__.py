"""A miniature of AUTOMATIC1111's WebUI 1.10: as much of it as this extension meets, with its order and its manners.

What matters is kept: exceptions of scripts and callbacks are swallowed, the checkpoint is loaded after
*before_process*, rows reach the UNet in the WebUI's order, an interrupt returns the last prediction. Names are those
of the WebUI; the text is our own.
"""
