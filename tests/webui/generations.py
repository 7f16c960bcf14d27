"""What tests of generations have in common."""

from tests.webui.host import NUM_FRAMES

HIRES = {"enable_hr": True, "denoising_strength": 0.7}


def script(host, **hooks):
    """A script of another extension."""
    return type("Other", (host.module("scripts").Script,), {name: staticmethod(f) for name, f in hooks.items()})()


def at_step(host, step, action):
    """Let another extension act on one evaluation of the model, counted over the whole generation."""
    calls = []

    def callback(params):
        calls.append(params)
        if len(calls) == step + 1:
            action(params)

    host.callbacks.on_cfg_denoiser(callback)
    return calls


def without_motion(host, **changes):
    """The frames that the same request has with AnimateDiff off."""
    return host.generate(batch_size=NUM_FRAMES, do_not_save_grid=True, **changes).images


def same(pictures, others):
    return [picture.tobytes() for picture in pictures] == [picture.tobytes() for picture in others]


def encoded(host, image):
    pixels = host.processing._pixels([image])
    return host.shared.sd_model.encode(pixels)[0]
