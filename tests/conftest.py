import os

import torch

torch.set_num_threads(1)
# bf16 where it is faster would make figures depend on the machine
os.environ["UNMASK_PRECISION"] = "fp32"
