"""AnimateDiff in AUTOMATIC1111's WebUI. The only package here that knows the WebUI (``modules``) and gradio."""
