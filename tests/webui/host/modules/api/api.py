import base64
import io

from PIL import Image


def decode_base64_to_image(encoding: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoding, validate=True)))
