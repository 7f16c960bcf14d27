import torch
from modules import sd_models, shared

approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}


class InterruptedException(BaseException):
    pass


def images_tensor_to_samples(image, _approximation=None, model=None):
    return torch.cat([(model or shared.sd_model).encode(picture[None]) for picture in image])


def apply_refiner(denoiser) -> bool:
    p = denoiser.p
    wanted = sd_models.checkpoints.get(p.refiner_checkpoint)
    too_early = denoiser.step / denoiser.total_steps < p.refiner_switch_at
    if wanted is None or too_early or shared.sd_model.sd_checkpoint_info == wanted:
        return False
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=wanted)
    p.setup_conds()
    denoiser.update_inner_model()
    return True
