extensions_dir = "/nonexistent"
