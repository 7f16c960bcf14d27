import os


def register_tmp_file(demo, filename):
    """The page may have this file."""
    demo.temp_file_sets[0] = demo.temp_file_sets[0] | {os.path.abspath(filename)}


def pil_to_temp_file(_component, pil_image, dir=None, format="png"):
    """In place of gradio's own: a picture that stands for a file is served as that file."""
    path = pil_image.already_saved_as
    named = f"{path}?{os.path.getmtime(path)}"
    from modules import shared

    register_tmp_file(shared.demo, path)
    register_tmp_file(shared.demo, named)
    return named
