import torch

device = torch.device("cpu")
dtype = dtype_unet = dtype_vae = torch.float32
