from pathlib import Path

from PIL import Image


def flatten(image, background):
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")


def resize_image(_mode, image, width, height):
    return image.resize((width, height))


def get_next_sequence_number(folder, basename):
    begin = f"{basename}-" if basename else ""
    names = [path.stem for path in Path(folder).iterdir() if path.stem.startswith(begin)]
    numbers = [name.removeprefix(begin).split("-")[0] for name in names]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1


def save_image(image, folder, seed):
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"{get_next_sequence_number(folder, ''):05}-{seed}.png"
    image.save(path)
    image.already_saved_as = str(path)


def read(file):
    return Image.open(file)


def read_info_from_image(image):
    """The infotext of a picture, and what else is in it."""
    return image.info.get("parameters"), {}
