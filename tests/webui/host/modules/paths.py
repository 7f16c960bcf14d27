extensions_dir = "/nonexistent"
models_path = "/nonexistent/models"
