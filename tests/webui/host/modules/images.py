import datetime
import re
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


class FilenameGenerator:
    """A few of the patterns."""

    def __init__(self, p, seed, prompt, image):
        clean = re.sub(r"[#<>:\"/\\|?*\n\r\t]", "_", prompt)
        self._known = {
            "seed": seed,
            "date": datetime.date.today().isoformat(),
            "prompt": clean.replace(" ", "_"),
            "prompt_spaces": clean,
            "steps": p.steps,
            "width": image.width,
            "none": "",
            "batch_number": None if p.batch_size == 1 else p.batch_index + 1,
            "generation_number": None
            if p.n_iter == p.batch_size == 1
            else p.iteration * p.batch_size + p.batch_index + 1,
        }

    def apply(self, pattern):
        """What means nothing for this picture goes with the text in front of it; what is not known stays."""
        result = ""
        for text, name in re.findall(r"([^\[]*)(?:\[(\w+)\]|$)", pattern):
            if not name or name not in self._known:
                result += text + (f"[{name}]" if name else "")
            elif self._known[name] is not None:
                result += f"{text}{self._known[name]}"
        return result


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
