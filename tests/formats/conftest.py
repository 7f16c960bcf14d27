import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """These models are so small that threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
